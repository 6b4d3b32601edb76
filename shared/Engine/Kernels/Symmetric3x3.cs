using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// F(3x3,3x3) by 36 multiplications for 9 outputs, where the plain sum has 81: the saving of F(2x2,3x3), for images whose
/// sides are multiples of 3.
///
/// In one dimension y = H g with the symmetric matrix H(i, j) = d(i + j). Each product of an off-diagonal element serves two
/// outputs, d(i + j) (g(i) + g(j)), and what this adds too much is taken back on the diagonal:
/// y(i) = sum over j != i of d(i + j) (g(i) + g(j)) + (d(2i) - sum over j != i of d(i + j)) g(i). Six products instead of nine, with
/// coefficients of 0 and +-1 alone. (Winograd's own F(3,3) needs five, but gives noise where exact zeros belong.) Forward only.
/// </summary>
internal readonly unsafe struct Symmetric3x3 : IConvolutionAlgorithm
{
    public static string Name => "F(3x3,3x3)";

    public static int OutputSide => 3;

    public static int Products => 6;

    public static bool KeepsZeros => true;

    public static void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Input, TLanes>(source, destination, channels);

    // G only sums: the taps stay as they are, a quarter of the memory, and few tiles are bound by reading the kernel.
    public static int KernelMatrices => 9;

    public static void TransformKernel<TLanes>(float* taps, nint tapStride, float* matrices, nint matrixStride, int length)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint tap = 0; tap < KernelMatrices; tap++)
            new ReadOnlySpan<float>(taps + (tap * tapStride), length).CopyTo(new Span<float>(matrices + (tap * matrixStride), length));
    }

    public static MatrixSum Factor(float* matrices, nint matrixStride, int product, int columns)
    {
        (int row, int rowBelow) = Taps(product / Products);
        (int column, int nextColumn) = Taps(product % Products);
        return new(
            matrices + (((3 * row) + column) * matrixStride), columns, (nextColumn - column) * matrixStride, (rowBelow - row) * 3 * matrixStride);
    }

    public static void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Output, TLanes>(source, destination, channels);

    /// <summary>The two taps that one of the six products multiplies the sum of, or one tap twice.</summary>
    private static (int First, int Second) Taps(int product) => product switch
    {
        0 => (0, 1),
        1 => (0, 2),
        2 => (1, 2),
        _ => (product - 3, product - 3),
    };

    private readonly struct Input : ILinearMap
    {
        public static int Inputs => 5;

        public static int Outputs => 6;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes d0 = TLanes.Load(x), d1 = TLanes.Load(x + xs), d2 = TLanes.Load(x + (2 * xs));
            TLanes d3 = TLanes.Load(x + (3 * xs)), d4 = TLanes.Load(x + (4 * xs));
            TLanes.Store(y, d1);
            TLanes.Store(y + ys, d2);
            TLanes.Store(y + (2 * ys), d3);
            TLanes.Store(y + (3 * ys), TLanes.Subtract(TLanes.Subtract(d0, d1), d2));
            TLanes.Store(y + (4 * ys), TLanes.Subtract(TLanes.Subtract(d2, d1), d3));
            TLanes.Store(y + (5 * ys), TLanes.Subtract(TLanes.Subtract(d4, d2), d3));
        }
    }

    private readonly struct Output : ILinearMap
    {
        public static int Inputs => 6;

        public static int Outputs => 3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m0 = TLanes.Load(x), m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs));
            TLanes m3 = TLanes.Load(x + (3 * xs)), m4 = TLanes.Load(x + (4 * xs)), m5 = TLanes.Load(x + (5 * xs));
            TLanes.Store(y, TLanes.Add(TLanes.Add(m0, m1), m3));
            TLanes.Store(y + ys, TLanes.Add(TLanes.Add(m0, m2), m4));
            TLanes.Store(y + (2 * ys), TLanes.Add(TLanes.Add(m1, m2), m5));
        }
    }
}
