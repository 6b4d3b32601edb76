using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Winograd's F(2x2,3x3): 16 multiplications for 4 outputs, where the plain sum has 36. Lavin and Gray, "Fast algorithms for
/// convolutional neural networks", 2016.
/// </summary>
internal readonly unsafe struct Winograd2x2 : ITransposableAlgorithm
{
    public static string Name => "F(2x2,3x3)";

    public static int OutputSide => 2;

    public static int Products => 4;

    public static bool KeepsZeros => true;

    // The two that every window takes keep its 16 rows in registers: first down all columns at once, then along each row.
    public static void TransformInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint rowStride = source.RowStride, columnStride = source.ColumnStride;
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            float* x = source.Data + channel, y = destination.Data + channel;
            Quad<TLanes> d0 = Quad<TLanes>.Load(x, columnStride), d1 = Quad<TLanes>.Load(x + rowStride, columnStride);
            Quad<TLanes> d2 = Quad<TLanes>.Load(x + (2 * rowStride), columnStride), d3 = Quad<TLanes>.Load(x + (3 * rowStride), columnStride);
            StoreInputRow(Quad<TLanes>.Subtract(d0, d2), y, destination.ColumnStride);
            StoreInputRow(Quad<TLanes>.Add(d1, d2), y + destination.RowStride, destination.ColumnStride);
            StoreInputRow(Quad<TLanes>.Subtract(d2, d1), y + (2 * destination.RowStride), destination.ColumnStride);
            StoreInputRow(Quad<TLanes>.Subtract(d1, d3), y + (3 * destination.RowStride), destination.ColumnStride);
        }
    }

    public static int KernelMatrices => Products * Products;

    public static void TransformKernel<TLanes>(float* taps, nint tapStride, float* matrices, nint matrixStride, int length)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.ApplyToKernel<Kernel, TLanes>(taps, tapStride, matrices, matrixStride, length);

    public static MatrixSum Factor(float* matrices, nint matrixStride, int product, int columns) =>
        new(matrices + (product * matrixStride), columns);

    public static void TransformOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            Quad<TLanes> window = Output<TLanes>(source.Moved(channel));
            float* y = destination.Data + channel;
            TLanes.Store(y, window.First);
            TLanes.Store(y + destination.ColumnStride, window.Second);
            TLanes.Store(y + destination.RowStride, window.Third);
            TLanes.Store(y + destination.RowStride + destination.ColumnStride, window.Fourth);
        }
    }

    /// <summary>A' M A for a row of channels: the window's four outputs in scan order.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad<TLanes> Output<TLanes>(Square products)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* m = products.Data;
        nint rowStride = products.RowStride, columnStride = products.ColumnStride;
        Quad<TLanes> m1 = Quad<TLanes>.Load(m + rowStride, columnStride), m2 = Quad<TLanes>.Load(m + (2 * rowStride), columnStride);
        Quad<TLanes> top = Quad<TLanes>.Add(Quad<TLanes>.Add(Quad<TLanes>.Load(m, columnStride), m1), m2);
        Quad<TLanes> bottom = Quad<TLanes>.Subtract(Quad<TLanes>.Subtract(m1, m2), Quad<TLanes>.Load(m + (3 * rowStride), columnStride));
        return new(LeftOutput(top), RightOutput(top), LeftOutput(bottom), RightOutput(bottom));
    }

    public static void AddTransposedInput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Add<InputTransposed, TLanes>(source, destination, channels);

    public static void TransposeKernel<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<KernelTransposed, TLanes>(source, destination, channels);

    public static void TransposeOutput<TLanes>(Square source, Square destination, int channels)
        where TLanes : unmanaged, ILanes<TLanes> => TileTransform.Apply<OutputTransposed, TLanes>(source, destination, channels);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreInputRow<TLanes>(Quad<TLanes> d, float* y, nint stride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes.Store(y, TLanes.Subtract(d.First, d.Third));
        TLanes.Store(y + stride, TLanes.Add(d.Second, d.Third));
        TLanes.Store(y + (2 * stride), TLanes.Subtract(d.Third, d.Second));
        TLanes.Store(y + (3 * stride), TLanes.Subtract(d.Second, d.Fourth));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes LeftOutput<TLanes>(Quad<TLanes> m)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Add(TLanes.Add(m.First, m.Second), m.Third);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TLanes RightOutput<TLanes>(Quad<TLanes> m)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Subtract(TLanes.Subtract(m.Second, m.Third), m.Fourth);

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
