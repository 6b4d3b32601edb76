namespace Distributed.Engine.Kernels;

/// <summary>A float32 matrix in memory: element (i, j) lies at Data[i RowStride + j ColumnStride].</summary>
internal readonly unsafe struct Matrix(float* data, nint rowStride, nint columnStride = 1)
{
    public readonly float* Data = data;
    public readonly nint RowStride = rowStride, ColumnStride = columnStride;

    /// <summary>The same matrix with rows and columns exchanged; nothing is moved.</summary>
    public Matrix Transposed => new(Data, ColumnStride, RowStride);

    public Matrix Rows(int first) => new(Data + (first * RowStride), RowStride, ColumnStride);
}

/// <summary>
/// C = A B: A is rows x depth in any layout, B depth x columns and C rows x columns with consecutive columns, their number a
/// multiple of 16.
///
/// A tile is 6 rows x a row of vectors held in registers over the whole depth: with 32 registers 4 vectors wide (24
/// accumulators, 4 of B, 1 broadcast of A), with 16 registers 2 wide (12, 2 and 1). Bound by the multiply-add units as long
/// as B's panel stays in the first cache. Rows left over take the largest smaller tile that fits (4, 2, 1), columns a
/// narrower one: the same loop, other types. Every element is one chain of multiply-adds, k ascending from 0, so neither
/// tile nor width shows in the bits.
/// </summary>
internal static unsafe class Gemm
{
    public static void Multiply<TLanes>(Matrix a, Matrix b, Matrix c, int rows, int columns, int depth)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int column = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; column + Quad<TLanes>.Count <= columns; column += Quad<TLanes>.Count)
                MultiplyColumns<Quad<TLanes>>(a, b.Data + column, b.RowStride, c.Data + column, c.RowStride, rows, depth);
        }

        for (; column + Pair<TLanes>.Count <= columns; column += Pair<TLanes>.Count)
            MultiplyColumns<Pair<TLanes>>(a, b.Data + column, b.RowStride, c.Data + column, c.RowStride, rows, depth);
        for (; column < columns; column += TLanes.Count)
            MultiplyColumns<TLanes>(a, b.Data + column, b.RowStride, c.Data + column, c.RowStride, rows, depth);
    }

    private static void MultiplyColumns<TRow>(in Matrix a, float* b, nint bStride, float* c, nint cStride, int rows, int depth)
        where TRow : unmanaged, ILanes<TRow>
    {
        float* factors = a.Data;
        nint rowStride = a.RowStride, columnStride = a.ColumnStride;
        while (rows > 0)
        {
            // 8 rows, the usual microbatch, are better as 4 and 4 than as 6 and 2.
            int tile = rows switch
            {
                8 => MultiplyTile<Rows4<TRow>, TRow>(factors, rowStride, columnStride, b, bStride, c, cStride, depth),
                >= 6 => MultiplyTile<Stack<Rows4<TRow>, Rows2<TRow>, TRow>, TRow>(factors, rowStride, columnStride, b, bStride, c, cStride, depth),
                >= 4 => MultiplyTile<Rows4<TRow>, TRow>(factors, rowStride, columnStride, b, bStride, c, cStride, depth),
                >= 2 => MultiplyTile<Rows2<TRow>, TRow>(factors, rowStride, columnStride, b, bStride, c, cStride, depth),
                _ => MultiplyTile<Rows1<TRow>, TRow>(factors, rowStride, columnStride, b, bStride, c, cStride, depth),
            };
            rows -= tile;
            factors += tile * rowStride;
            c += tile * cStride;
        }
    }

    /// <returns>The rows it did.</returns>
    private static int MultiplyTile<TTile, TRow>(
        float* factors, nint rowStride, nint columnStride, float* b, nint bStride, float* c, nint cStride, int depth)
        where TTile : unmanaged, IRowTile<TTile, TRow>
        where TRow : unmanaged, ILanes<TRow>
    {
        TTile tile = TTile.Repeat(TRow.Zero);
        for (int k = 0; k < depth; k++)
        {
            tile = TTile.MultiplyAdd(factors, rowStride, TRow.Load(b), tile);
            factors += columnStride;
            b += bStride;
        }

        TTile.Store(c, cStride, tile);
        return TTile.Rows;
    }
}
