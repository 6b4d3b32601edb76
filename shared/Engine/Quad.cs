using System.Runtime.CompilerServices;

namespace Distributed.Engine;

/// <summary>
/// Four rows side by side, itself a row. The JIT keeps a struct of at most four fields in registers, so this is the widest
/// row that one level can hold, and it compiles to better code than a pair of pairs.
/// </summary>
internal unsafe struct Quad<T>(T first, T second, T third, T fourth) : ILanes<Quad<T>>
    where T : unmanaged, ILanes<T>
{
    private T _first = first, _second = second, _third = third, _fourth = fourth;

    public static int Count => 4 * T.Count;

    public T First => _first;

    public T Second => _second;

    public T Third => _third;

    public T Fourth => _fourth;

    public static bool HasManyRegisters => T.HasManyRegisters;

    public static Quad<T> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(T.Zero, T.Zero, T.Zero, T.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Splat(float value)
    {
        T lanes = T.Splat(value);
        return new(lanes, lanes, lanes, lanes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Load(float* source) =>
        new(T.Load(source), T.Load(source + T.Count), T.Load(source + (2 * T.Count)), T.Load(source + (3 * T.Count)));

    /// <summary>Rows that lie apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Load(float* source, nint stride) =>
        new(T.Load(source), T.Load(source + stride), T.Load(source + (2 * stride)), T.Load(source + (3 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, Quad<T> value)
    {
        T.Store(destination, value._first);
        T.Store(destination + T.Count, value._second);
        T.Store(destination + (2 * T.Count), value._third);
        T.Store(destination + (3 * T.Count), value._fourth);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> MultiplyAdd(Quad<T> a, Quad<T> b, Quad<T> c) => new(
        T.MultiplyAdd(a._first, b._first, c._first),
        T.MultiplyAdd(a._second, b._second, c._second),
        T.MultiplyAdd(a._third, b._third, c._third),
        T.MultiplyAdd(a._fourth, b._fourth, c._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Quad<T> sum, Quad<T> a, Quad<T> b)
    {
        T.Accumulate(ref sum._first, a._first, b._first);
        T.Accumulate(ref sum._second, a._second, b._second);
        T.Accumulate(ref sum._third, a._third, b._third);
        T.Accumulate(ref sum._fourth, a._fourth, b._fourth);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Accumulate(ref Quad<T> sum, Quad<T> a, float* b)
    {
        T.Accumulate(ref sum._first, a._first, b);
        T.Accumulate(ref sum._second, a._second, b + T.Count);
        T.Accumulate(ref sum._third, a._third, b + (2 * T.Count));
        T.Accumulate(ref sum._fourth, a._fourth, b + (3 * T.Count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Add(Quad<T> a, Quad<T> b) =>
        new(T.Add(a._first, b._first), T.Add(a._second, b._second), T.Add(a._third, b._third), T.Add(a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Subtract(Quad<T> a, Quad<T> b) => new(
        T.Subtract(a._first, b._first), T.Subtract(a._second, b._second), T.Subtract(a._third, b._third), T.Subtract(a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Multiply(Quad<T> a, Quad<T> b) => new(
        T.Multiply(a._first, b._first), T.Multiply(a._second, b._second), T.Multiply(a._third, b._third), T.Multiply(a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Divide(Quad<T> a, Quad<T> b) =>
        new(T.Divide(a._first, b._first), T.Divide(a._second, b._second), T.Divide(a._third, b._third), T.Divide(a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Sqrt(Quad<T> a) => new(T.Sqrt(a._first), T.Sqrt(a._second), T.Sqrt(a._third), T.Sqrt(a._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Max(Quad<T> a, Quad<T> b) =>
        new(T.Max(a._first, b._first), T.Max(a._second, b._second), T.Max(a._third, b._third), T.Max(a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Relu(Quad<T> x) => new(T.Relu(x._first), T.Relu(x._second), T.Relu(x._third), T.Relu(x._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> SelectGreater(Quad<T> left, Quad<T> right, Quad<T> whenGreater, Quad<T> otherwise) => new(
        T.SelectGreater(left._first, right._first, whenGreater._first, otherwise._first),
        T.SelectGreater(left._second, right._second, whenGreater._second, otherwise._second),
        T.SelectGreater(left._third, right._third, whenGreater._third, otherwise._third),
        T.SelectGreater(left._fourth, right._fourth, whenGreater._fourth, otherwise._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> SelectEqual(Quad<T> left, Quad<T> right, Quad<T> whenEqual, Quad<T> otherwise) => new(
        T.SelectEqual(left._first, right._first, whenEqual._first, otherwise._first),
        T.SelectEqual(left._second, right._second, whenEqual._second, otherwise._second),
        T.SelectEqual(left._third, right._third, whenEqual._third, otherwise._third),
        T.SelectEqual(left._fourth, right._fourth, whenEqual._fourth, otherwise._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> Pick(float* above, float* below, Quad<T> index) => new(
        T.Pick(above, below, index._first), T.Pick(above, below, index._second),
        T.Pick(above, below, index._third), T.Pick(above, below, index._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> PowerOfTwo(Quad<T> n) =>
        new(T.PowerOfTwo(n._first), T.PowerOfTwo(n._second), T.PowerOfTwo(n._third), T.PowerOfTwo(n._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> RoundToBfloat16(Quad<T> x) =>
        new(T.RoundToBfloat16(x._first), T.RoundToBfloat16(x._second), T.RoundToBfloat16(x._third), T.RoundToBfloat16(x._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> LoadBytes(byte* source) => new(
        T.LoadBytes(source), T.LoadBytes(source + T.Count), T.LoadBytes(source + (2 * T.Count)), T.LoadBytes(source + (3 * T.Count)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreBytes(byte* destination, Quad<T> value)
    {
        T.StoreBytes(destination, value._first);
        T.StoreBytes(destination + T.Count, value._second);
        T.StoreBytes(destination + (2 * T.Count), value._third);
        T.StoreBytes(destination + (3 * T.Count), value._fourth);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<T> OrDifference(Quad<T> any, Quad<T> a, Quad<T> b) => new(
        T.OrDifference(any._first, a._first, b._first),
        T.OrDifference(any._second, a._second, b._second),
        T.OrDifference(any._third, a._third, b._third),
        T.OrDifference(any._fourth, a._fourth, b._fourth));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool HasNoBits(Quad<T> value) =>
        T.HasNoBits(value._first) && T.HasNoBits(value._second) && T.HasNoBits(value._third) && T.HasNoBits(value._fourth);
}
