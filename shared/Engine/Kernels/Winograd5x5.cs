using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Winograd's F(5x5,3x3): 49 multiplications for 25 outputs, where the plain sum has 225 and F(2x2,3x3) 100. By the
/// Toom-Cook construction over the points 0, 1, -1, 2, -2, -1/2 and infinity (Winograd, "Arithmetic complexity of
/// computations", 1980), which keep the error at about 3e-6 of the largest output. Forward only.
/// </summary>
internal readonly unsafe struct Winograd5x5 : IConvolutionAlgorithm
{
    public static string Name => "F(5x5,3x3)";

    public static int OutputSide => 5;

    public static int Products => 7;

    public static bool KeepsZeros => false;

    public static int KernelMatrices => Products * Products;

    public static void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Input, TLanes>(source, destination, channels);

    public static void TransformKernel<TLanes>(float* taps, nint tapStride, float* matrices, nint matrixStride, int length)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.ApplyToKernel<Kernel, TLanes>(taps, tapStride, matrices, matrixStride, length);

    public static MatrixSum Factor(float* matrices, nint matrixStride, int product, int columns) =>
        new(matrices + (product * matrixStride), columns);

    public static void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Output, TLanes>(source, destination, channels);

    /// <summary>
    /// Row a of B' holds the coefficients of P(x) / (x - a), P(x) = x (x^2 - 1) (x^2 - 4) (x + 1/2); that of infinity those of P
    /// itself. Shared factors are applied once: (x^2 - 1) (x^2 - 4) for 0, -1/2 and infinity, x (x + 1/2) for the pairs.
    /// </summary>
    private readonly struct Input : ILinearMap
    {
        public static int Inputs => 7;

        public static int Outputs => 7;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes d0 = TLanes.Load(x), d1 = TLanes.Load(x + xs), d2 = TLanes.Load(x + (2 * xs)), d3 = TLanes.Load(x + (3 * xs));
            TLanes d4 = TLanes.Load(x + (4 * xs)), d5 = TLanes.Load(x + (5 * xs)), d6 = TLanes.Load(x + (6 * xs));
            TLanes half = TLanes.Splat(0.5f), two = TLanes.Splat(2), four = TLanes.Splat(4), minusFour = TLanes.Splat(-4), minusFive = TLanes.Splat(-5);
            TLanes e0 = TLanes.MultiplyAdd(four, d0, TLanes.MultiplyAdd(minusFive, d2, d4));
            TLanes e1 = TLanes.MultiplyAdd(four, d1, TLanes.MultiplyAdd(minusFive, d3, d5));
            TLanes e2 = TLanes.MultiplyAdd(four, d2, TLanes.MultiplyAdd(minusFive, d4, d6));
            TLanes.Store(y, TLanes.MultiplyAdd(half, e0, e1));
            TLanes.Store(y + (5 * ys), e1);
            TLanes.Store(y + (6 * ys), TLanes.MultiplyAdd(half, e1, e2));
            TLanes v1 = TLanes.MultiplyAdd(half, d1, d2), v2 = TLanes.MultiplyAdd(half, d2, d3);
            TLanes v3 = TLanes.MultiplyAdd(half, d3, d4), v4 = TLanes.MultiplyAdd(half, d4, d5);
            TLanes w0 = TLanes.MultiplyAdd(minusFour, v1, v3), w1 = TLanes.MultiplyAdd(minusFour, v2, v4);
            TLanes.Store(y + ys, TLanes.Add(w1, w0));
            TLanes.Store(y + (2 * ys), TLanes.Subtract(w1, w0));
            TLanes s0 = TLanes.Multiply(two, TLanes.Subtract(v3, v1)), s1 = TLanes.Subtract(v4, v2);
            TLanes.Store(y + (3 * ys), TLanes.Add(s1, s0));
            TLanes.Store(y + (4 * ys), TLanes.Subtract(s1, s0));
        }
    }

    /// <summary>Row a of G holds 1, a and a^2 over P'(a); that of infinity the last tap.</summary>
    private readonly struct Kernel : ILinearMap
    {
        public static int Inputs => 3;

        public static int Outputs => 7;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes g0 = TLanes.Load(x), g1 = TLanes.Load(x + xs), g2 = TLanes.Load(x + (2 * xs));
            TLanes ones = TLanes.Add(g0, g2), twos = TLanes.MultiplyAdd(TLanes.Splat(4), g2, g0), twice = TLanes.Add(g1, g1);
            TLanes halves = TLanes.MultiplyAdd(TLanes.Splat(0.25f), g2, TLanes.MultiplyAdd(TLanes.Splat(-0.5f), g1, g0));
            TLanes.Store(y, TLanes.Multiply(TLanes.Splat(1f / 2), g0));
            TLanes.Store(y + ys, TLanes.Multiply(TLanes.Splat(-1f / 9), TLanes.Add(ones, g1)));
            TLanes.Store(y + (2 * ys), TLanes.Multiply(TLanes.Splat(1f / 3), TLanes.Subtract(ones, g1)));
            TLanes.Store(y + (3 * ys), TLanes.Multiply(TLanes.Splat(1f / 60), TLanes.Add(twos, twice)));
            TLanes.Store(y + (4 * ys), TLanes.Multiply(TLanes.Splat(-1f / 36), TLanes.Subtract(twos, twice)));
            TLanes.Store(y + (5 * ys), TLanes.Multiply(TLanes.Splat(-32f / 45), halves));
            TLanes.Store(y + (6 * ys), g2);
        }
    }

    /// <summary>Column a of A' holds the powers 0 to 4 of a; that of infinity a 1 at the last.</summary>
    private readonly struct Output : ILinearMap
    {
        public static int Inputs => 7;

        public static int Outputs => 5;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs)), m4 = TLanes.Load(x + (4 * xs));
            TLanes half = TLanes.Load(x + (5 * xs));
            TLanes sumOfOnes = TLanes.Add(m1, m2), ones = TLanes.Subtract(m1, m2), sumOfTwos = TLanes.Add(m3, m4), twos = TLanes.Subtract(m3, m4);
            TLanes.Store(y, TLanes.Add(TLanes.Add(TLanes.Load(x), half), TLanes.Add(sumOfOnes, sumOfTwos)));
            TLanes.Store(y + ys, TLanes.MultiplyAdd(TLanes.Splat(-1f / 2), half, TLanes.MultiplyAdd(TLanes.Splat(2), twos, ones)));
            TLanes.Store(y + (2 * ys), TLanes.MultiplyAdd(TLanes.Splat(1f / 4), half, TLanes.MultiplyAdd(TLanes.Splat(4), sumOfTwos, sumOfOnes)));
            TLanes.Store(y + (3 * ys), TLanes.MultiplyAdd(TLanes.Splat(-1f / 8), half, TLanes.MultiplyAdd(TLanes.Splat(8), twos, ones)));
            TLanes last = TLanes.MultiplyAdd(TLanes.Splat(16), sumOfTwos, TLanes.Add(sumOfOnes, TLanes.Load(x + (6 * xs))));
            TLanes.Store(y + (4 * ys), TLanes.MultiplyAdd(TLanes.Splat(1f / 16), half, last));
        }
    }
}
