namespace Distributed.Engine.Kernels;

/// <summary>Some columns of a transformed kernel: one matrix or several for each product, rows x <see cref="Count"/>.</summary>
/// <param name="matrices">The first matrix.</param>
/// <param name="matrixStride">Floats from one matrix to the next.</param>
/// <param name="rowStride">Floats from row to row.</param>
/// <param name="count">Columns, a multiple of 16.</param>
internal readonly unsafe struct KernelColumns(float* matrices, nint matrixStride, int rowStride, int count)
{
    public readonly float* Matrices = matrices;
    public readonly nint MatrixStride = matrixStride;
    public readonly int RowStride = rowStride, Count = count;
}
