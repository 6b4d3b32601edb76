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
    public static Lanes512 Pick(float* above, float* below, Lanes512 index)
    {
        if (Avx512F.IsSupported)
        {
            Vector512<double> fours = Avx512F.UnpackLow(Vector512.Create(*(double*)above), Vector512.Create(*(double*)below));
            return new(Avx512F.PermuteVar4x32(fours.AsSingle(), index._value.AsInt32()));
        }

        return new(Vector512.Create(
            Lanes256.Pick(above, below, new(index._value.GetLower())).Value, Lanes256.Pick(above, below, new(index._value.GetUpper())).Value));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 PowerOfTwo(Lanes512 n) =>
        new(Vector512.ShiftLeft(Vector512.ConvertToInt32(n._value) + Vector512.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 RoundToBfloat16(Lanes512 x)
    {
        Vector512<uint> bits = x._value.AsUInt32(), half = Vector512.Create(Bfloat16Bits.BelowHalf);
        Vector512<uint> rounded = bits + half + ((bits >>> Bfloat16Bits.Dropped) & Vector512<uint>.One);
        Vector512<uint> kept = Vector512.ConditionalSelect(
            Vector512.Equals(x._value, x._value).AsUInt32(), rounded, bits | Vector512.Create(Bfloat16Bits.QuietNaN));
        return new((kept & Vector512.Create(Bfloat16Bits.Kept)).AsSingle());
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 LoadBytes(byte* source)
    {
        if (Avx512F.IsSupported)
            return new(Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(source))));
        return new(Vector512.Create(Lanes256.LoadBytes(source).Value, Lanes256.LoadBytes(source + Lanes256.Count).Value));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBytes(byte* destination, Lanes512 value)
    {
        if (Avx512F.IsSupported)
        {
            // Native, because the other conversion spends three instructions on what fits no integer.
            Avx512F.ConvertToVector128Byte(Vector512.ConvertToInt32Native(value._value)).Store(destination);
            return;
        }

        Lanes256.StoreBytes(destination, new(value._value.GetLower()));
        Lanes256.StoreBytes(destination + Lanes256.Count, new(value._value.GetUpper()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes512 OrDifference(Lanes512 any, Lanes512 a, Lanes512 b) => new(any._value | (a._value ^ b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNoBits(Lanes512 value) => value._value.AsInt32() == Vector512<int>.Zero;
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
    public static Lanes256 Pick(float* above, float* below, Lanes256 index)
    {
        if (Avx.IsSupported)
        {
            Vector256<double> fours = Avx.UnpackLow(Vector256.Create(*(double*)above), Vector256.Create(*(double*)below));
            return new(Avx.PermuteVar(fours.AsSingle(), index._value.AsInt32()));
        }

        return new(Vector256.Create(
            Lanes128.Pick(above, below, new(index._value.GetLower())).Value, Lanes128.Pick(above, below, new(index._value.GetUpper())).Value));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 PowerOfTwo(Lanes256 n) =>
        new(Vector256.ShiftLeft(Vector256.ConvertToInt32(n._value) + Vector256.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 RoundToBfloat16(Lanes256 x)
    {
        Vector256<uint> bits = x._value.AsUInt32(), half = Vector256.Create(Bfloat16Bits.BelowHalf);
        Vector256<uint> rounded = bits + half + ((bits >>> Bfloat16Bits.Dropped) & Vector256<uint>.One);
        Vector256<uint> kept = Vector256.ConditionalSelect(
            Vector256.Equals(x._value, x._value).AsUInt32(), rounded, bits | Vector256.Create(Bfloat16Bits.QuietNaN));
        return new((kept & Vector256.Create(Bfloat16Bits.Kept)).AsSingle());
    }

    public Vector256<float> Value => _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 LoadBytes(byte* source)
    {
        if (Avx2.IsSupported)
            return new(Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(source)));
        return new(Vector256.Create(Lanes128.LoadBytes(source).Value, Lanes128.LoadBytes(source + Lanes128.Count).Value));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBytes(byte* destination, Lanes256 value)
    {
        Vector256<int> whole = Vector256.ConvertToInt32Native(value._value);
        Vector128<short> narrow = Vector128.Narrow(whole.GetLower(), whole.GetUpper());
        Vector128.Narrow(narrow.AsUInt16(), narrow.AsUInt16()).GetLower().Store(destination);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes256 OrDifference(Lanes256 any, Lanes256 a, Lanes256 b) => new(any._value | (a._value ^ b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNoBits(Lanes256 value) => value._value.AsInt32() == Vector256<int>.Zero;
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
    public static Lanes128 Pick(float* above, float* below, Lanes128 index) =>
        new(Vector128.Shuffle(Vector128.Create(*(double*)above, *(double*)below).AsSingle(), index._value.AsInt32() & Vector128.Create(3)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 PowerOfTwo(Lanes128 n) =>
        new(Vector128.ShiftLeft(Vector128.ConvertToInt32(n._value) + Vector128.Create(127), 23).AsSingle());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 RoundToBfloat16(Lanes128 x)
    {
        Vector128<uint> bits = x._value.AsUInt32(), half = Vector128.Create(Bfloat16Bits.BelowHalf);
        Vector128<uint> rounded = bits + half + ((bits >>> Bfloat16Bits.Dropped) & Vector128<uint>.One);
        Vector128<uint> kept = Vector128.ConditionalSelect(
            Vector128.Equals(x._value, x._value).AsUInt32(), rounded, bits | Vector128.Create(Bfloat16Bits.QuietNaN));
        return new((kept & Vector128.Create(Bfloat16Bits.Kept)).AsSingle());
    }

    public Vector128<float> Value => _value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 LoadBytes(byte* source)
    {
        Vector128<byte> bytes = Vector128.CreateScalar(*(uint*)source).AsByte();
        return new(Vector128.ConvertToSingle(Vector128.WidenLower(Vector128.WidenLower(bytes)).AsInt32()));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBytes(byte* destination, Lanes128 value)
    {
        Vector128<short> narrow = Vector128.Narrow(Vector128.ConvertToInt32Native(value._value), Vector128<int>.Zero);
        *(uint*)destination = Vector128.Narrow(narrow.AsUInt16(), narrow.AsUInt16()).AsUInt32().ToScalar();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Lanes128 OrDifference(Lanes128 any, Lanes128 a, Lanes128 b) => new(any._value | (a._value ^ b._value));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNoBits(Lanes128 value) => value._value.AsInt32() == Vector128<int>.Zero;
}

/// <summary>One lane: what every other width must agree with, and the path where no vector unit is at hand.</summary>
internal readonly unsafe struct ScalarLane(float value) : ILanes<ScalarLane>
{
    private readonly float _value = value;

    public static int Count => 1;

    private int Bits => BitConverter.SingleToInt32Bits(_value);

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

    public static ScalarLane Pick(float* above, float* below, ScalarLane index) =>
        new(((index.Bits & 2) == 0 ? above : below)[index.Bits & 1]);

    public static ScalarLane PowerOfTwo(ScalarLane n) => new(BitConverter.Int32BitsToSingle(((int)n._value + 127) << 23));

    public static ScalarLane RoundToBfloat16(ScalarLane x)
    {
        uint bits = BitConverter.SingleToUInt32Bits(x._value);
        uint rounded = float.IsNaN(x._value) ? bits | Bfloat16Bits.QuietNaN : bits + Bfloat16Bits.BelowHalf + ((bits >> Bfloat16Bits.Dropped) & 1);
        return new(BitConverter.UInt32BitsToSingle(rounded & Bfloat16Bits.Kept));
    }

    public static ScalarLane LoadBytes(byte* source) => new(*source);

    public static void StoreBytes(byte* destination, ScalarLane value) => *destination = (byte)value._value;

    public static ScalarLane OrDifference(ScalarLane any, ScalarLane a, ScalarLane b) =>
        new(BitConverter.Int32BitsToSingle(any.Bits | (a.Bits ^ b.Bits)));

    public static bool HasNoBits(ScalarLane value) => value.Bits == 0;
}
