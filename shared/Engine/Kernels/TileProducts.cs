namespace Distributed.Engine.Kernels;

/// <summary>Transformed tiles: for each of a convolution algorithm's products a matrix (tiles, channels).</summary>
/// <param name="Offset">Floats from the arena's start.</param>
/// <param name="ProductStride">Floats from one product's matrix to the next.</param>
/// <param name="Channels">Padded; floats from tile to tile.</param>
internal readonly unsafe record struct TileBuffer(int Offset, int ProductStride, int Channels)
{
    public static TileBuffer Reserve(ArenaPlan arena, int products, int tiles, int channels)
    {
        // A line more, so that the products of one tile do not all fall into the same cache set.
        int productStride = checked((tiles * channels) + ArenaPlan.Alignment);
        return new TileBuffer(arena.Reserve(checked(products * products * productStride)), productStride, channels);
    }

    /// <summary>One tile's products, side x side rows of channels.</summary>
    public Square Tile(float* arena, int side, int tile) =>
        new(arena + Offset + ((nint)tile * Channels), (nint)side * ProductStride, ProductStride);

    /// <summary>One product's matrix from a tile on.</summary>
    public Matrix Product(float* arena, int product, int tile) =>
        new(arena + Offset + ((nint)product * ProductStride) + ((nint)tile * Channels), Channels);
}

/// <summary>The products between the transforms of a convolution algorithm: as many small matrix products as it has products.</summary>
internal static unsafe class TileProducts
{
    /// <summary>Tiles that are transformed, multiplied and transformed back together: a multiple of the register tile's 6 rows, few enough for the caches.</summary>
    public const int BlockTiles = 24;

    /// <summary>For every product: result (tiles, columns) = tiles (tiles, depth) x kernel (depth, columns).</summary>
    /// <param name="kernel">The algorithm's matrices (depth, columns), as <see cref="Operations.TransformedKernel{TAlgorithm, TLanes}"/> gives them.</param>
    public static void Multiply<TAlgorithm, TLanes>(
        float* arena, TileBuffer tiles, int firstTile, in KernelColumns kernel, TileBuffer result, int firstResult, int count, int depth)
        where TAlgorithm : IConvolutionAlgorithm
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int product = 0; product < TAlgorithm.Products * TAlgorithm.Products; product++)
        {
            Gemm.Multiply<TLanes>(
                tiles.Product(arena, product, firstTile), TAlgorithm.Factor(kernel.Matrices, kernel.MatrixStride, product, kernel.RowStride),
                result.Product(arena, product, firstResult), count, kernel.Count, depth);
        }
    }
}
