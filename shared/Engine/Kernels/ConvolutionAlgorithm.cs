namespace Distributed.Engine.Kernels;

/// <summary>
/// A bilinear algorithm for 3x3 convolution, Y = A' [(G g G') . (B' d B)] A: an output tile of OutputSide squared pixels from an
/// input tile of (OutputSide + 2) squared by Products squared multiplications for each pair of channels.
/// </summary>
internal unsafe interface IConvolutionAlgorithm
{
    static abstract string Name { get; }

    static abstract int OutputSide { get; }

    static abstract int Products { get; }

    /// <summary>
    /// Whether every output is free of the inputs that it does not depend on, term by term: a window of zeros then gives
    /// exactly zero, and equal windows give equal sums. Of an algorithm that is not, the noise of rounding would pass ReLU and
    /// decide ties; <see cref="RepeatedPatches"/> takes it back out where it matters.
    /// </summary>
    static abstract bool KeepsZeros { get; }

    /// <summary>B'.</summary>
    static abstract void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>Matrices (channels, filters) that a kernel is kept as: what each product multiplies by is a sum of those.</summary>
    static abstract int KernelMatrices { get; }

    /// <summary>G, or as much of it as is done ahead: from the 9 taps, in scan order, to the <see cref="KernelMatrices"/>.</summary>
    /// <param name="taps">The first of the taps' matrices.</param>
    /// <param name="tapStride">Floats from one of those to the next.</param>
    /// <param name="matrices">Receives the kernel's matrices.</param>
    /// <param name="matrixStride">Floats from one of those to the next.</param>
    /// <param name="length">Consecutive floats of each matrix to transform, a multiple of 16.</param>
    static abstract void TransformKernel<TLanes>(float* taps, nint tapStride, float* matrices, nint matrixStride, int length)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>The transformed kernel's matrix for a product.</summary>
    /// <param name="matrixStride">Floats from one of the kernel's matrices to the next.</param>
    static abstract MatrixSum Factor(float* matrices, nint matrixStride, int product, int columns);

    /// <summary>A'.</summary>
    static abstract void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;
}

/// <summary>
/// One that also gives the gradients, by the transposed maps: of the data B [(G g G') . (A dy A')] B', of the weights
/// G' [(B' d B) . (A dy A')] G.
/// </summary>
internal unsafe interface ITransposableAlgorithm : IConvolutionAlgorithm
{
    /// <summary>B; added to the destination, since input tiles overlap.</summary>
    static abstract void AddTransposedInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>G'.</summary>
    static abstract void TransposeKernel<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>A.</summary>
    static abstract void TransposeOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;
}
