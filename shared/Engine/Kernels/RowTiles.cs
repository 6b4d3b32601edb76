using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// A few rows of accumulators, one below the other: the register tile of a matrix product. Like the rows it is made of,
/// it is a value that the JIT keeps in registers as long as no struct has more than four fields.
/// </summary>
internal unsafe interface IRowTile<TSelf, TRow>
    where TSelf : unmanaged, IRowTile<TSelf, TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    static abstract int Rows { get; }

    /// <summary>All rows the same.</summary>
    static abstract TSelf Repeat(TRow row);

    static abstract TSelf Load(float* source, nint stride);

    static abstract void Store(float* destination, nint stride, TSelf tile);

    /// <summary>Adds to every row i the product of factors[i stride] and <paramref name="row"/>.</summary>
    static abstract TSelf MultiplyAdd(float* factors, nint stride, TRow row, TSelf tile);
}

internal readonly unsafe struct Rows1<TRow>(TRow row) : IRowTile<Rows1<TRow>, TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private readonly TRow _row = row;

    public static int Rows => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows1<TRow> Repeat(TRow row) => new(row);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows1<TRow> Load(float* source, nint stride) => new(TRow.Load(source));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, nint stride, Rows1<TRow> tile) => TRow.Store(destination, tile._row);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows1<TRow> MultiplyAdd(float* factors, nint stride, TRow row, Rows1<TRow> tile) =>
        new(TRow.MultiplyAdd(TRow.Splat(*factors), row, tile._row));
}

internal readonly unsafe struct Rows2<TRow>(TRow first, TRow second) : IRowTile<Rows2<TRow>, TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private readonly TRow _first = first, _second = second;

    public static int Rows => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows2<TRow> Repeat(TRow row) => new(row, row);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows2<TRow> Load(float* source, nint stride) => new(TRow.Load(source), TRow.Load(source + stride));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, nint stride, Rows2<TRow> tile)
    {
        TRow.Store(destination, tile._first);
        TRow.Store(destination + stride, tile._second);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows2<TRow> MultiplyAdd(float* factors, nint stride, TRow row, Rows2<TRow> tile) => new(
        TRow.MultiplyAdd(TRow.Splat(*factors), row, tile._first),
        TRow.MultiplyAdd(TRow.Splat(factors[stride]), row, tile._second));
}

internal readonly unsafe struct Rows4<TRow>(TRow first, TRow second, TRow third, TRow fourth) : IRowTile<Rows4<TRow>, TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private readonly TRow _first = first, _second = second, _third = third, _fourth = fourth;

    public static int Rows => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows4<TRow> Repeat(TRow row) => new(row, row, row, row);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows4<TRow> Load(float* source, nint stride) =>
        new(TRow.Load(source), TRow.Load(source + stride), TRow.Load(source + (2 * stride)), TRow.Load(source + (3 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, nint stride, Rows4<TRow> tile)
    {
        TRow.Store(destination, tile._first);
        TRow.Store(destination + stride, tile._second);
        TRow.Store(destination + (2 * stride), tile._third);
        TRow.Store(destination + (3 * stride), tile._fourth);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Rows4<TRow> MultiplyAdd(float* factors, nint stride, TRow row, Rows4<TRow> tile) => new(
        TRow.MultiplyAdd(TRow.Splat(*factors), row, tile._first),
        TRow.MultiplyAdd(TRow.Splat(factors[stride]), row, tile._second),
        TRow.MultiplyAdd(TRow.Splat(factors[2 * stride]), row, tile._third),
        TRow.MultiplyAdd(TRow.Splat(factors[3 * stride]), row, tile._fourth));
}

/// <summary>One tile on top of another.</summary>
internal readonly unsafe struct Stack<TTop, TBottom, TRow>(TTop top, TBottom bottom) : IRowTile<Stack<TTop, TBottom, TRow>, TRow>
    where TTop : unmanaged, IRowTile<TTop, TRow>
    where TBottom : unmanaged, IRowTile<TBottom, TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private readonly TTop _top = top;
    private readonly TBottom _bottom = bottom;

    public static int Rows
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TTop.Rows + TBottom.Rows;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Stack<TTop, TBottom, TRow> Repeat(TRow row) => new(TTop.Repeat(row), TBottom.Repeat(row));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Stack<TTop, TBottom, TRow> Load(float* source, nint stride) =>
        new(TTop.Load(source, stride), TBottom.Load(source + (TTop.Rows * stride), stride));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* destination, nint stride, Stack<TTop, TBottom, TRow> tile)
    {
        TTop.Store(destination, stride, tile._top);
        TBottom.Store(destination + (TTop.Rows * stride), stride, tile._bottom);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Stack<TTop, TBottom, TRow> MultiplyAdd(float* factors, nint stride, TRow row, Stack<TTop, TBottom, TRow> tile) => new(
        TTop.MultiplyAdd(factors, stride, row, tile._top),
        TBottom.MultiplyAdd(factors + (TTop.Rows * stride), stride, row, tile._bottom));
}
