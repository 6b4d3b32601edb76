using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Distributed.Engine;

/// <summary>16 lanes: AVX-512.</summary>
internal readonly unsafe struct Lanes512(Vector512<float> value) : ILanes<Lanes512>
{
    private readonly Vector512<float> _value = value;

    public static int Count => 16;

    public static bool HasManyRegisters => true;

    public static Lanes512 Zero => new(Vector512<float>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Splat(float value) => new(Vector512.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Load(float* source) => new(Vector512.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Lanes512 value) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 MultiplyAdd(Lanes512 a, Lanes512 b, Lanes512 c) => new(Vector512.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes512 sum, Lanes512 a, Lanes512 b) => sum = new(Vector512.FusedMultiplyAdd(a._value, b._value, sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes512 sum, Lanes512 a, float* b) =>
        sum = new(Vector512.FusedMultiplyAdd(a._value, Vector512.Load(b), sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Add(Lanes512 a, Lanes512 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Subtract(Lanes512 a, Lanes512 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Multiply(Lanes512 a, Lanes512 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Divide(Lanes512 a, Lanes512 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Sqrt(Lanes512 a) => new(Vector512.Sqrt(a._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Max(Lanes512 a, Lanes512 b) => new(Vector512.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 Relu(Lanes512 x) => new(Vector512.MaxNative(Vector512<float>.Zero, x._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 SelectGreater(Lanes512 left, Lanes512 right, Lanes512 whenGreater, Lanes512 otherwise) =>
        new(Vector512.ConditionalSelect(Vector512.GreaterThan(left._value, right._value), whenGreater._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 SelectEqual(Lanes512 left, Lanes512 right, Lanes512 whenEqual, Lanes512 otherwise) =>
        new(Vector512.ConditionalSelect(Vector512.Equals(left._value, right._value), whenEqual._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 PowerOfTwo(Lanes512 n) =>
        new(Vector512.ShiftLeft(Vector512.ConvertToInt32(n._value) + Vector512.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong GreaterMask(Lanes512 left, Lanes512 right) =>
        Vector512.GreaterThan(left._value, right._value).ExtractMostSignificantBits();
}

/// <summary>8 lanes: AVX2 with FMA.</summary>
internal readonly unsafe struct Lanes256(Vector256<float> value) : ILanes<Lanes256>
{
    private readonly Vector256<float> _value = value;

    public static int Count => 8;

    public static bool HasManyRegisters => Avx512F.VL.IsSupported;

    public static Lanes256 Zero => new(Vector256<float>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Splat(float value) => new(Vector256.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Load(float* source) => new(Vector256.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Lanes256 value) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 MultiplyAdd(Lanes256 a, Lanes256 b, Lanes256 c) => new(Vector256.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes256 sum, Lanes256 a, Lanes256 b) => sum = new(Vector256.FusedMultiplyAdd(a._value, b._value, sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes256 sum, Lanes256 a, float* b) =>
        sum = new(Vector256.FusedMultiplyAdd(a._value, Vector256.Load(b), sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Add(Lanes256 a, Lanes256 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Subtract(Lanes256 a, Lanes256 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Multiply(Lanes256 a, Lanes256 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Divide(Lanes256 a, Lanes256 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Sqrt(Lanes256 a) => new(Vector256.Sqrt(a._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Max(Lanes256 a, Lanes256 b) => new(Vector256.MaxNative(a._value, b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 Relu(Lanes256 x) => new(Vector256.MaxNative(Vector256<float>.Zero, x._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 SelectGreater(Lanes256 left, Lanes256 right, Lanes256 whenGreater, Lanes256 otherwise) =>
        new(Vector256.ConditionalSelect(Vector256.GreaterThan(left._value, right._value), whenGreater._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 SelectEqual(Lanes256 left, Lanes256 right, Lanes256 whenEqual, Lanes256 otherwise) =>
        new(Vector256.ConditionalSelect(Vector256.Equals(left._value, right._value), whenEqual._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 PowerOfTwo(Lanes256 n) =>
        new(Vector256.ShiftLeft(Vector256.ConvertToInt32(n._value) + Vector256.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong GreaterMask(Lanes256 left, Lanes256 right) =>
        Vector256.GreaterThan(left._value, right._value).ExtractMostSignificantBits();
}

/// <summary>4 lanes: Arm64 AdvSimd, or x86 where AVX2 is missing (FMA is then the C library's, and slow).</summary>
internal readonly unsafe struct Lanes128(Vector128<float> value) : ILanes<Lanes128>
{
    private readonly Vector128<float> _value = value;

    public static int Count => 4;

    public static bool HasManyRegisters => Avx512F.VL.IsSupported || AdvSimd.IsSupported;

    public static Lanes128 Zero => new(Vector128<float>.Zero);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Splat(float value) => new(Vector128.Create(value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Load(float* source) => new(Vector128.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Lanes128 value) => value._value.Store(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 MultiplyAdd(Lanes128 a, Lanes128 b, Lanes128 c) => new(Vector128.FusedMultiplyAdd(a._value, b._value, c._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes128 sum, Lanes128 a, Lanes128 b) => sum = new(Vector128.FusedMultiplyAdd(a._value, b._value, sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Lanes128 sum, Lanes128 a, float* b) =>
        sum = new(Vector128.FusedMultiplyAdd(a._value, Vector128.Load(b), sum._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Add(Lanes128 a, Lanes128 b) => new(a._value + b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Subtract(Lanes128 a, Lanes128 b) => new(a._value - b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Multiply(Lanes128 a, Lanes128 b) => new(a._value * b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Divide(Lanes128 a, Lanes128 b) => new(a._value / b._value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Sqrt(Lanes128 a) => new(Vector128.Sqrt(a._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Max(Lanes128 a, Lanes128 b) => Sse.IsSupported ? new(Sse.Max(a._value, b._value)) : SelectGreater(a, b, a, b);

    // Arm's maximum orders the zeros and returns its own NaN, so there the comparison is spelt out.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 Relu(Lanes128 x) => Sse.IsSupported
        ? new(Sse.Max(Vector128<float>.Zero, x._value))
        : new(Vector128.ConditionalSelect(Vector128.GreaterThan(Vector128<float>.Zero, x._value), Vector128<float>.Zero, x._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 SelectGreater(Lanes128 left, Lanes128 right, Lanes128 whenGreater, Lanes128 otherwise) =>
        new(Vector128.ConditionalSelect(Vector128.GreaterThan(left._value, right._value), whenGreater._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 SelectEqual(Lanes128 left, Lanes128 right, Lanes128 whenEqual, Lanes128 otherwise) =>
        new(Vector128.ConditionalSelect(Vector128.Equals(left._value, right._value), whenEqual._value, otherwise._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 PowerOfTwo(Lanes128 n) =>
        new(Vector128.ShiftLeft(Vector128.ConvertToInt32(n._value) + Vector128.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong GreaterMask(Lanes128 left, Lanes128 right) =>
        Vector128.GreaterThan(left._value, right._value).ExtractMostSignificantBits();
}

/// <summary>One lane: what every other width must agree with, and the path where no vector unit is at hand.</summary>
internal readonly unsafe struct ScalarLane(float value) : ILanes<ScalarLane>
{
    private readonly float _value = value;

    public static int Count => 1;

    public static bool HasManyRegisters => false;

    public static ScalarLane Zero => new(0);

    public static ScalarLane Splat(float value) => new(value);

    public static ScalarLane Load(float* source) => new(*source);

    public static void Store(float* destination, ScalarLane value) => *destination = value._value;

    public static ScalarLane MultiplyAdd(ScalarLane a, ScalarLane b, ScalarLane c) => new(MathF.FusedMultiplyAdd(a._value, b._value, c._value));

    public static void Accumulate(ref ScalarLane sum, ScalarLane a, ScalarLane b) => sum = MultiplyAdd(a, b, sum);

    public static void Accumulate(ref ScalarLane sum, ScalarLane a, float* b) => sum = new(MathF.FusedMultiplyAdd(a._value, *b, sum._value));

    public static ScalarLane Add(ScalarLane a, ScalarLane b) => new(a._value + b._value);

    public static ScalarLane Subtract(ScalarLane a, ScalarLane b) => new(a._value - b._value);

    public static ScalarLane Multiply(ScalarLane a, ScalarLane b) => new(a._value * b._value);

    public static ScalarLane Divide(ScalarLane a, ScalarLane b) => new(a._value / b._value);

    public static ScalarLane Sqrt(ScalarLane a) => new(MathF.Sqrt(a._value));

    public static ScalarLane Max(ScalarLane a, ScalarLane b) => a._value > b._value ? a : b;

    public static ScalarLane Relu(ScalarLane x) => new(0 > x._value ? 0 : x._value);

    public static ScalarLane SelectGreater(ScalarLane left, ScalarLane right, ScalarLane whenGreater, ScalarLane otherwise) =>
        left._value > right._value ? whenGreater : otherwise;

    public static ScalarLane SelectEqual(ScalarLane left, ScalarLane right, ScalarLane whenEqual, ScalarLane otherwise) =>
        left._value == right._value ? whenEqual : otherwise;

    public static ScalarLane PowerOfTwo(ScalarLane n) => new(BitConverter.Int32BitsToSingle(((int)n._value + 127) << 23));

    public static ulong GreaterMask(ScalarLane left, ScalarLane right) => left._value > right._value ? 1ul : 0;
}

/// <summary>Two rows side by side, itself a row: what a kernel's tile is wide.</summary>
internal unsafe struct Pair<T>(T low, T high) : ILanes<Pair<T>>
    where T : unmanaged, ILanes<T>
{
    private T _low = low, _high = high;

    public static int Count => 2 * T.Count;

    public static bool HasManyRegisters => T.HasManyRegisters;

    // A tile asks for dozens of these: past its budget the JIT inlines only what it is told to.
    public static Pair<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(T.Zero, T.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Splat(float value)
    {
        T lanes = T.Splat(value);
        return new(lanes, lanes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Load(float* source) => new(T.Load(source), T.Load(source + T.Count));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Pair<T> value)
    {
        T.Store(destination, value._low);
        T.Store(destination + T.Count, value._high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> MultiplyAdd(Pair<T> a, Pair<T> b, Pair<T> c) =>
        new(T.MultiplyAdd(a._low, b._low, c._low), T.MultiplyAdd(a._high, b._high, c._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Pair<T> sum, Pair<T> a, Pair<T> b)
    {
        T.Accumulate(ref sum._low, a._low, b._low);
        T.Accumulate(ref sum._high, a._high, b._high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Pair<T> sum, Pair<T> a, float* b)
    {
        T.Accumulate(ref sum._low, a._low, b);
        T.Accumulate(ref sum._high, a._high, b + T.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Add(Pair<T> a, Pair<T> b) => new(T.Add(a._low, b._low), T.Add(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Subtract(Pair<T> a, Pair<T> b) => new(T.Subtract(a._low, b._low), T.Subtract(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Multiply(Pair<T> a, Pair<T> b) => new(T.Multiply(a._low, b._low), T.Multiply(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Divide(Pair<T> a, Pair<T> b) => new(T.Divide(a._low, b._low), T.Divide(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Sqrt(Pair<T> a) => new(T.Sqrt(a._low), T.Sqrt(a._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Max(Pair<T> a, Pair<T> b) => new(T.Max(a._low, b._low), T.Max(a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> Relu(Pair<T> x) => new(T.Relu(x._low), T.Relu(x._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> SelectGreater(Pair<T> left, Pair<T> right, Pair<T> whenGreater, Pair<T> otherwise) => new(
        T.SelectGreater(left._low, right._low, whenGreater._low, otherwise._low),
        T.SelectGreater(left._high, right._high, whenGreater._high, otherwise._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> SelectEqual(Pair<T> left, Pair<T> right, Pair<T> whenEqual, Pair<T> otherwise) => new(
        T.SelectEqual(left._low, right._low, whenEqual._low, otherwise._low),
        T.SelectEqual(left._high, right._high, whenEqual._high, otherwise._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> PowerOfTwo(Pair<T> n) => new(T.PowerOfTwo(n._low), T.PowerOfTwo(n._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ulong GreaterMask(Pair<T> left, Pair<T> right) =>
        T.GreaterMask(left._low, right._low) | (T.GreaterMask(left._high, right._high) << T.Count);
}
