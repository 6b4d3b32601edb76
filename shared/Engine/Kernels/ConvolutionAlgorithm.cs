namespace Distributed.Engine.Kernels;

/// <summary>
/// A bilinear algorithm for 3x3 convolution, Y = A' [(G g G') . (B' d B)] A: an output tile of OutputSide squared pixels from an
/// input tile of (OutputSide + 2) squared by Products squared multiplications for each pair of channels. The gradients use the
/// transposed maps: of the data B [(G g G') . (A dy A')] B', of the weights G' [(B' d B) . (A dy A')] G.
///
/// Only algorithms in which every output is free of the inputs that it does not depend on, term by term, are used here: a
/// window of zeros then gives exactly zero and not rounding noise, which ReLU would let pass.
/// </summary>
internal unsafe interface IConvolutionAlgorithm
{
    static abstract string Name { get; }

    static abstract int OutputSide { get; }

    static abstract int Products { get; }

    /// <summary>B'.</summary>
    static abstract void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>Matrices (channels, filters) that a kernel is kept as: what each product multiplies by is a sum of those.</summary>
    static abstract int KernelMatrices { get; }

    /// <summary>G, or as much of it as is done ahead: from the 9 taps, in scan order, to the <see cref="KernelMatrices"/>.</summary>
    /// <param name="taps">The first of the taps' matrices, one behind the other.</param>
    /// <param name="matrices">Receives the kernel's matrices, one behind the other.</param>
    /// <param name="rows">Of each matrix.</param>
    /// <param name="columns">Of each matrix, a multiple of the lanes.</param>
    static abstract void TransformKernel<TLanes>(float* taps, float* matrices, int rows, int columns)
        where TLanes : unmanaged, ILanes<TLanes>;

    /// <summary>The transformed kernel's matrix for a product.</summary>
    static abstract MatrixSum Factor(float* matrices, int product, int rows, int columns);

    /// <summary>A'.</summary>
    static abstract void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>;

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
