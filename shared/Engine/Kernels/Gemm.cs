using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>A float32 matrix in memory: element (i, j) lies at Data[i RowStride + j ColumnStride].</summary>
internal readonly unsafe struct Matrix(float* data, nint rowStride, nint columnStride = 1)
{
    public readonly float* Data = data;
    public readonly nint RowStride = rowStride, ColumnStride = columnStride;

    /// <summary>The same matrix with rows and columns exchanged; nothing is moved.</summary>
    public Matrix Transposed => new(Data, ColumnStride, RowStride);

    public Matrix Rows(int first) => new(Data + (first * RowStride), RowStride, ColumnStride);

    public Matrix Columns(int first) => new(Data + (first * ColumnStride), RowStride, ColumnStride);

    public Matrix Moved(nint offset) => new(Data + offset, RowStride, ColumnStride);
}

/// <summary>The sum of one, two or four matrices, taken as their rows are read: it needs no memory of its own.</summary>
/// <param name="data">The first.</param>
/// <param name="rowStride">Of all.</param>
/// <param name="across">Floats to a second one to add, or 0.</param>
/// <param name="down">Floats from each of those to one more to add, or 0.</param>
internal readonly unsafe struct MatrixSum(float* data, nint rowStride, nint across = 0, nint down = 0)
{
    public readonly float* Data = data;
    public readonly nint RowStride = rowStride, Across = across, Down = down;
}

/// <summary>
/// C = A B: A is rows x depth in any layout, B depth x columns and C rows x columns with consecutive columns, their number a
/// multiple of 16.
///
/// A tile is 6 rows x a row of vectors held in registers over the whole depth: with 32 registers 4 vectors wide (24
/// accumulators, 4 of B, 1 broadcast of A), with 16 registers 2 wide (12, 2 and 1). Bound by the multiply-add units as long
/// as B's panel stays in the first cache. Rows left over take the largest smaller tile that fits (4, 2, 1), columns a
/// narrower one: the same loop, other types. B may be a sum of matrices, added in a fixed order as each row is read. Every
/// element is one chain of multiply-adds, k ascending from 0, so neither tile nor width shows in the bits.
/// </summary>
internal static unsafe class Gemm
{
    public static void Multiply<TLanes>(Matrix a, Matrix b, Matrix c, int rows, int columns, int depth)
        where TLanes : unmanaged, ILanes<TLanes> =>
        Multiply<One, TLanes>(a, new(b.Data, b.RowStride), c, rows, columns, depth);

    /// <summary>The same with a sum of matrices as B.</summary>
    public static void Multiply<TLanes>(Matrix a, MatrixSum b, Matrix c, int rows, int columns, int depth)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (b.Across != 0 && b.Down != 0)
            Multiply<SumOfFour, TLanes>(a, b, c, rows, columns, depth);
        else if (b.Across != 0 || b.Down != 0)
            Multiply<SumOfTwo, TLanes>(a, new(b.Data, b.RowStride, b.Across + b.Down), c, rows, columns, depth);
        else
            Multiply<One, TLanes>(a, b, c, rows, columns, depth);
    }

    /// <summary>
    /// Several products of the same extents, whose matrices lie at these strides. Of 8 rows, with few terms in each sum, a call for
    /// every tile would take a quarter as long as the tile: there one call goes through the products.
    /// </summary>
    public static void MultiplyEach<TLanes>(
        int count, Matrix a, nint aStride, Matrix b, nint bStride, Matrix c, nint cStride, int rows, int columns, int depth)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (rows == 8 && columns % Pair<TLanes>.Count == 0)
        {
            for (int column = 0; column < columns; column += Pair<TLanes>.Count)
            {
                Matrix right = b.Columns(column), result = c.Columns(column);
                if (TLanes.HasManyRegisters)
                {
                    MultiplyTiles<Stack<Rows4<Pair<TLanes>>, Rows4<Pair<TLanes>>, Pair<TLanes>>, Pair<TLanes>>(count, a, aStride, right, bStride, result, cStride, depth);
                    continue;
                }

                for (int row = 0; row < rows; row += 4)
                    MultiplyTiles<Rows4<Pair<TLanes>>, Pair<TLanes>>(count, a.Rows(row), aStride, right, bStride, result.Rows(row), cStride, depth);
            }

            return;
        }

        for (nint i = 0; i < count; i++)
            Multiply<TLanes>(a.Moved(i * aStride), b.Moved(i * bStride), c.Moved(i * cStride), rows, columns, depth);
    }

    private static void MultiplyTiles<TTile, TRow>(int count, Matrix a, nint aStride, Matrix b, nint bStride, Matrix c, nint cStride, int depth)
        where TTile : unmanaged, IRowTile<TTile, TRow>
        where TRow : unmanaged, ILanes<TRow>
    {
        float* factors = a.Data, rows = b.Data, result = c.Data;
        nint rowStride = a.RowStride, columnStride = a.ColumnStride, stride = b.RowStride, resultStride = c.RowStride;
        for (; count > 0; count--)
        {
            TTile.Store(result, resultStride, Sum<One, TTile, TRow>(factors, rowStride, columnStride, rows, stride, 0, 0, depth));
            factors += aStride;
            rows += bStride;
            result += cStride;
        }
    }

    private static void Multiply<TTerms, TLanes>(in Matrix a, in MatrixSum b, in Matrix c, int rows, int columns, int depth)
        where TTerms : ITerms
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int column = 0;
        if (TLanes.HasManyRegisters)
        {
            // A sum is dear to read, so here 8 rows are better as one narrower tile that reads it once.
            for (; rows == 8 && column + Pair<TLanes>.Count <= columns; column += Pair<TLanes>.Count)
            {
                MultiplyTile<TTerms, Stack<Rows4<Pair<TLanes>>, Rows4<Pair<TLanes>>, Pair<TLanes>>, Pair<TLanes>>(
                    a.Data, a.RowStride, a.ColumnStride, b, column, c.Data + column, c.RowStride, depth);
            }

            for (; column + Quad<TLanes>.Count <= columns; column += Quad<TLanes>.Count)
                MultiplyColumns<TTerms, Quad<TLanes>>(a, b, c, column, rows, depth);
        }

        for (; column + Pair<TLanes>.Count <= columns; column += Pair<TLanes>.Count)
            MultiplyColumns<TTerms, Pair<TLanes>>(a, b, c, column, rows, depth);
        for (; column < columns; column += TLanes.Count)
            MultiplyColumns<TTerms, TLanes>(a, b, c, column, rows, depth);
    }

    private static void MultiplyColumns<TTerms, TRow>(in Matrix a, in MatrixSum b, in Matrix c, int column, int rows, int depth)
        where TTerms : ITerms
        where TRow : unmanaged, ILanes<TRow>
    {
        float* factors = a.Data, result = c.Data + column;
        while (rows > 0)
        {
            // 8 rows, the usual microbatch, are better as 4 and 4 than as 6 and 2.
            int tile = rows switch
            {
                8 => MultiplyTile<TTerms, Rows4<TRow>, TRow>(factors, a.RowStride, a.ColumnStride, b, column, result, c.RowStride, depth),
                >= 6 => MultiplyTile<TTerms, Stack<Rows4<TRow>, Rows2<TRow>, TRow>, TRow>(factors, a.RowStride, a.ColumnStride, b, column, result, c.RowStride, depth),
                >= 4 => MultiplyTile<TTerms, Rows4<TRow>, TRow>(factors, a.RowStride, a.ColumnStride, b, column, result, c.RowStride, depth),
                >= 2 => MultiplyTile<TTerms, Rows2<TRow>, TRow>(factors, a.RowStride, a.ColumnStride, b, column, result, c.RowStride, depth),
                _ => MultiplyTile<TTerms, Rows1<TRow>, TRow>(factors, a.RowStride, a.ColumnStride, b, column, result, c.RowStride, depth),
            };
            rows -= tile;
            factors += tile * a.RowStride;
            result += tile * c.RowStride;
        }
    }

    /// <returns>The rows it did.</returns>
    private static int MultiplyTile<TTerms, TTile, TRow>(
        float* factors, nint rowStride, nint columnStride, in MatrixSum b, int column, float* c, nint cStride, int depth)
        where TTerms : ITerms
        where TTile : unmanaged, IRowTile<TTile, TRow>
        where TRow : unmanaged, ILanes<TRow>
    {
        TTile.Store(c, cStride, Sum<TTerms, TTile, TRow>(factors, rowStride, columnStride, b.Data + column, b.RowStride, b.Across, b.Down, depth));
        return TTile.Rows;
    }

    /// <summary>A tile's sums over the depth.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TTile Sum<TTerms, TTile, TRow>(
        float* factors, nint rowStride, nint columnStride, float* row, nint stride, nint across, nint down, int depth)
        where TTerms : ITerms
        where TTile : unmanaged, IRowTile<TTile, TRow>
        where TRow : unmanaged, ILanes<TRow>
    {
        TTile tile = TTile.Repeat(TRow.Zero);
        for (int k = 0; k < depth; k++)
        {
            tile = TTile.MultiplyAdd(factors, rowStride, TTerms.Load<TRow>(row, across, down), tile);
            factors += columnStride;
            row += stride;
        }

        return tile;
    }

    /// <summary>How many matrices make up B.</summary>
    private interface ITerms
    {
        static abstract int Count { get; }

        static abstract TRow Load<TRow>(float* row, nint across, nint down)
            where TRow : unmanaged, ILanes<TRow>;
    }

    private readonly struct One : ITerms
    {
        public static int Count => 1;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TRow Load<TRow>(float* row, nint across, nint down)
            where TRow : unmanaged, ILanes<TRow> => TRow.Load(row);
    }

    private readonly struct SumOfTwo : ITerms
    {
        public static int Count => 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TRow Load<TRow>(float* row, nint across, nint down)
            where TRow : unmanaged, ILanes<TRow> => TRow.Add(TRow.Load(row), TRow.Load(row + across));
    }

    private readonly struct SumOfFour : ITerms
    {
        public static int Count => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static TRow Load<TRow>(float* row, nint across, nint down)
            where TRow : unmanaged, ILanes<TRow> =>
            TRow.Add(SumOfTwo.Load<TRow>(row, across, 0), SumOfTwo.Load<TRow>(row + down, across, 0));
    }
}
