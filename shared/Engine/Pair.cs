using System.Runtime.CompilerServices;

namespace Distributed.Engine;

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
    public static Pair<T> Pick(float* above, float* below, Pair<T> index) =>
        new(T.Pick(above, below, index._low), T.Pick(above, below, index._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> PowerOfTwo(Pair<T> n) => new(T.PowerOfTwo(n._low), T.PowerOfTwo(n._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> RoundToBfloat16(Pair<T> x) => new(T.RoundToBfloat16(x._low), T.RoundToBfloat16(x._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> LoadBytes(byte* source) => new(T.LoadBytes(source), T.LoadBytes(source + T.Count));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBytes(byte* destination, Pair<T> value)
    {
        T.StoreBytes(destination, value._low);
        T.StoreBytes(destination + T.Count, value._high);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Pair<T> OrDifference(Pair<T> any, Pair<T> a, Pair<T> b) =>
        new(T.OrDifference(any._low, a._low, b._low), T.OrDifference(any._high, a._high, b._high));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNoBits(Pair<T> value) => T.HasNoBits(value._low) && T.HasNoBits(value._high);
}
