using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Winograd's F(3x3,3x3): 25 multiplications for 9 outputs, where the plain sum has 81. By the Toom-Cook construction over the
/// points 0, 1, -1, 2 and infinity, with an error of about 1e-6 of the largest output; where zeros must stay exact there is
/// <see cref="Symmetric3x3"/>.
/// </summary>
internal readonly unsafe struct Winograd3x3 : ITransposableAlgorithm
{
    public static string Name => "F(3x3,3x3)";

    public static int OutputSide => 3;

    public static int Products => 5;

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

    public static void AddTransposedInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Add<InputTransposed, TLanes>(source, destination, channels);

    public static void TransposeKernel<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<KernelTransposed, TLanes>(source, destination, channels);

    public static void TransposeOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<OutputTransposed, TLanes>(source, destination, channels);

    /// <summary>Row a of B' holds the coefficients of P(x) / (x - a), P(x) = x (x^2 - 1) (x - 2); that of infinity those of P itself.</summary>
    private readonly struct Input : ILinearMap
    {
        public static int Inputs => 5;

        public static int Outputs => 5;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes d1 = TLanes.Load(x + xs), d2 = TLanes.Load(x + (2 * xs)), d3 = TLanes.Load(x + (3 * xs)), minusTwo = TLanes.Splat(-2);
            TLanes odd = TLanes.Subtract(d3, d1), even = TLanes.Subtract(TLanes.Load(x + (4 * xs)), d2);
            TLanes.Store(y, TLanes.MultiplyAdd(minusTwo, TLanes.Subtract(d2, TLanes.Load(x)), odd));
            TLanes.Store(y + ys, TLanes.MultiplyAdd(minusTwo, d1, TLanes.Subtract(d3, d2)));
            TLanes.Store(y + (2 * ys), TLanes.MultiplyAdd(minusTwo, TLanes.Subtract(d2, d1), TLanes.Subtract(d3, d2)));
            TLanes.Store(y + (3 * ys), odd);
            TLanes.Store(y + (4 * ys), TLanes.MultiplyAdd(minusTwo, odd, even));
        }
    }

    private readonly struct InputTransposed : ILinearMap
    {
        public static int Inputs => 5;

        public static int Outputs => 5;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m0 = TLanes.Load(x), m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs));
            TLanes last = TLanes.Load(x + (4 * xs)), two = TLanes.Splat(2), minusTwo = TLanes.Splat(-2);
            TLanes sum = TLanes.Add(m1, m2), rest = TLanes.MultiplyAdd(minusTwo, last, TLanes.Add(m0, m3));
            TLanes.Store(y, TLanes.Multiply(two, m0));
            TLanes.Store(y + ys, TLanes.MultiplyAdd(two, TLanes.Subtract(m2, m1), TLanes.Subtract(TLanes.Zero, rest)));
            TLanes.Store(y + (2 * ys), TLanes.MultiplyAdd(minusTwo, TLanes.Add(m0, m2), TLanes.Subtract(TLanes.Subtract(TLanes.Zero, last), sum)));
            TLanes.Store(y + (3 * ys), TLanes.Add(rest, sum));
            TLanes.Store(y + (4 * ys), last);
        }
    }

    /// <summary>Row a of G holds 1, a and a^2 over P'(a); that of infinity the last tap.</summary>
    private readonly struct Kernel : ILinearMap
    {
        public static int Inputs => 3;

        public static int Outputs => 5;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes g0 = TLanes.Load(x), g1 = TLanes.Load(x + xs), g2 = TLanes.Load(x + (2 * xs));
            TLanes outer = TLanes.Add(g0, g2);
            TLanes twos = TLanes.MultiplyAdd(TLanes.Splat(4), g2, TLanes.MultiplyAdd(TLanes.Splat(2), g1, g0));
            TLanes.Store(y, TLanes.Multiply(TLanes.Splat(1f / 2), g0));
            TLanes.Store(y + ys, TLanes.Multiply(TLanes.Splat(-1f / 2), TLanes.Add(outer, g1)));
            TLanes.Store(y + (2 * ys), TLanes.Multiply(TLanes.Splat(-1f / 6), TLanes.Subtract(outer, g1)));
            TLanes.Store(y + (3 * ys), TLanes.Multiply(TLanes.Splat(1f / 6), twos));
            TLanes.Store(y + (4 * ys), g2);
        }
    }

    private readonly struct KernelTransposed : ILinearMap
    {
        public static int Inputs => 5;

        public static int Outputs => 3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m1 = TLanes.Multiply(TLanes.Splat(-1f / 2), TLanes.Load(x + xs)), m2 = TLanes.Multiply(TLanes.Splat(-1f / 6), TLanes.Load(x + (2 * xs)));
            TLanes m3 = TLanes.Multiply(TLanes.Splat(1f / 6), TLanes.Load(x + (3 * xs))), outer = TLanes.Add(m1, m2);
            TLanes.Store(y, TLanes.MultiplyAdd(TLanes.Splat(1f / 2), TLanes.Load(x), TLanes.Add(outer, m3)));
            TLanes.Store(y + ys, TLanes.MultiplyAdd(TLanes.Splat(2), m3, TLanes.Subtract(m1, m2)));
            TLanes.Store(y + (2 * ys), TLanes.MultiplyAdd(TLanes.Splat(4), m3, TLanes.Add(outer, TLanes.Load(x + (4 * xs)))));
        }
    }

    /// <summary>Column a of A' holds the powers 0 to 2 of a; that of infinity a 1 at the last.</summary>
    private readonly struct Output : ILinearMap
    {
        public static int Inputs => 5;

        public static int Outputs => 3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs)), sum = TLanes.Add(m1, m2);
            TLanes.Store(y, TLanes.Add(TLanes.Add(TLanes.Load(x), m3), sum));
            TLanes.Store(y + ys, TLanes.MultiplyAdd(TLanes.Splat(2), m3, TLanes.Subtract(m1, m2)));
            TLanes.Store(y + (2 * ys), TLanes.MultiplyAdd(TLanes.Splat(4), m3, TLanes.Add(sum, TLanes.Load(x + (4 * xs)))));
        }
    }

    private readonly struct OutputTransposed : ILinearMap
    {
        public static int Inputs => 3;

        public static int Outputs => 5;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes y0 = TLanes.Load(x), y1 = TLanes.Load(x + xs), y2 = TLanes.Load(x + (2 * xs)), outer = TLanes.Add(y0, y2);
            TLanes.Store(y, y0);
            TLanes.Store(y + ys, TLanes.Add(outer, y1));
            TLanes.Store(y + (2 * ys), TLanes.Subtract(outer, y1));
            TLanes.Store(y + (3 * ys), TLanes.MultiplyAdd(TLanes.Splat(4), y2, TLanes.MultiplyAdd(TLanes.Splat(2), y1, y0)));
            TLanes.Store(y + (4 * ys), y2);
        }
    }
}
