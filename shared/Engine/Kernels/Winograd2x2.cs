using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Winograd's F(2x2,3x3): 16 multiplications for 4 outputs, where the plain sum has 36. Lavin and Gray, "Fast algorithms for
/// convolutional neural networks", 2016.
/// </summary>
internal abstract unsafe class Winograd2x2 : IConvolutionAlgorithm
{
    public static string Name => "F(2x2,3x3)";

    public static int OutputSide => 2;

    public static int Products => 4;

    public static void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Input, TLanes>(source, destination, channels);

    public static void TransformKernel<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Kernel, TLanes>(source, destination, channels);

    public static void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<Output, TLanes>(source, destination, channels);

    public static void AddTransposedInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Add<InputTransposed, TLanes>(source, destination, channels);

    public static void TransposeKernel<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<KernelTransposed, TLanes>(source, destination, channels);

    public static void TransposeOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<OutputTransposed, TLanes>(source, destination, channels);

    private readonly struct Input : ILinearMap
    {
        public static int Inputs => 4;

        public static int Outputs => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes d0 = TLanes.Load(x), d1 = TLanes.Load(x + xs), d2 = TLanes.Load(x + (2 * xs)), d3 = TLanes.Load(x + (3 * xs));
            TLanes.Store(y, TLanes.Subtract(d0, d2));
            TLanes.Store(y + ys, TLanes.Add(d1, d2));
            TLanes.Store(y + (2 * ys), TLanes.Subtract(d2, d1));
            TLanes.Store(y + (3 * ys), TLanes.Subtract(d1, d3));
        }
    }

    private readonly struct Kernel : ILinearMap
    {
        public static int Inputs => 3;

        public static int Outputs => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes g0 = TLanes.Load(x), g1 = TLanes.Load(x + xs), g2 = TLanes.Load(x + (2 * xs));
            TLanes half = TLanes.Splat(0.5f);
            TLanes outer = TLanes.Add(g0, g2);
            TLanes.Store(y, g0);
            TLanes.Store(y + ys, TLanes.Multiply(half, TLanes.Add(outer, g1)));
            TLanes.Store(y + (2 * ys), TLanes.Multiply(half, TLanes.Subtract(outer, g1)));
            TLanes.Store(y + (3 * ys), g2);
        }
    }

    private readonly struct Output : ILinearMap
    {
        public static int Inputs => 4;

        public static int Outputs => 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m0 = TLanes.Load(x), m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs));
            TLanes.Store(y, TLanes.Add(TLanes.Add(m0, m1), m2));
            TLanes.Store(y + ys, TLanes.Subtract(TLanes.Subtract(m1, m2), m3));
        }
    }

    private readonly struct InputTransposed : ILinearMap
    {
        public static int Inputs => 4;

        public static int Outputs => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m0 = TLanes.Load(x), m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs));
            TLanes.Store(y, m0);
            TLanes.Store(y + ys, TLanes.Add(TLanes.Subtract(m1, m2), m3));
            TLanes.Store(y + (2 * ys), TLanes.Subtract(TLanes.Add(m1, m2), m0));
            TLanes.Store(y + (3 * ys), TLanes.Subtract(TLanes.Zero, m3));
        }
    }

    private readonly struct KernelTransposed : ILinearMap
    {
        public static int Inputs => 4;

        public static int Outputs => 3;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes m0 = TLanes.Load(x), m1 = TLanes.Load(x + xs), m2 = TLanes.Load(x + (2 * xs)), m3 = TLanes.Load(x + (3 * xs));
            TLanes half = TLanes.Splat(0.5f);
            TLanes sum = TLanes.Multiply(half, TLanes.Add(m1, m2));
            TLanes.Store(y, TLanes.Add(m0, sum));
            TLanes.Store(y + ys, TLanes.Multiply(half, TLanes.Subtract(m1, m2)));
            TLanes.Store(y + (2 * ys), TLanes.Add(sum, m3));
        }
    }

    private readonly struct OutputTransposed : ILinearMap
    {
        public static int Inputs => 2;

        public static int Outputs => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes y0 = TLanes.Load(x), y1 = TLanes.Load(x + xs);
            TLanes.Store(y, y0);
            TLanes.Store(y + ys, TLanes.Add(y0, y1));
            TLanes.Store(y + (2 * ys), TLanes.Subtract(y0, y1));
            TLanes.Store(y + (3 * ys), TLanes.Subtract(TLanes.Zero, y1));
        }
    }
}
