using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>A small fixed matrix that multiplies vectors of rows: y = T x.</summary>
internal unsafe interface ILinearMap
{
    static abstract int Inputs { get; }

    static abstract int Outputs { get; }

    /// <param name="x">Input i lies at x + i xs.</param>
    /// <param name="y">Output i goes to y + i ys.</param>
    static abstract void Apply<TLanes>(float* x, nint xs, float* y, nint ys)
        where TLanes : unmanaged, ILanes<TLanes>;
}

/// <summary>A square of rows in memory: row (y, x) lies at Data + y RowStride + x ColumnStride.</summary>
internal readonly unsafe struct Square(float* data, nint rowStride, nint columnStride)
{
    public readonly float* Data = data;
    public readonly nint RowStride = rowStride, ColumnStride = columnStride;

    public Square Moved(nint offset) => new(Data + offset, RowStride, ColumnStride);
}

/// <summary>Y = T X T' of a square of rows, a linear map applied down the columns and then along the rows.</summary>
internal static unsafe class TileTransform
{
    /// <summary>The largest square a map may have, on either side.</summary>
    public const int MaximumSide = 7;

    /// <param name="channels">Floats in a row, a multiple of the lanes.</param>
    [SkipLocalsInit]
    public static void Apply<TMap, TLanes>(Square source, Square destination, int channels)
        where TMap : ILinearMap
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* memory = stackalloc float[HalfLength<TLanes>()], half = Align(memory);
        nint row = TMap.Inputs * TLanes.Count;
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            ApplyToColumns<TMap, TLanes>(source.Moved(channel), half);
            float* target = destination.Data + channel;
            for (nint y = 0; y < TMap.Outputs; y++)
                TMap.Apply<TLanes>(half + (y * row), TLanes.Count, target + (y * destination.RowStride), destination.ColumnStride);
        }
    }

    /// <summary>T g T' for a kernel: from its taps' matrices to as many of the products.</summary>
    /// <param name="length">Consecutive floats of each matrix to transform, a multiple of the lanes.</param>
    public static void ApplyToKernel<TMap, TLanes>(float* taps, nint tapStride, float* matrices, nint matrixStride, int length)
        where TMap : ILinearMap
        where TLanes : unmanaged, ILanes<TLanes> =>
        Apply<TMap, TLanes>(new(taps, TMap.Inputs * tapStride, tapStride), new(matrices, TMap.Outputs * matrixStride, matrixStride), length);

    /// <summary>Y += T X T'.</summary>
    /// <param name="channels">Floats in a row, a multiple of the lanes.</param>
    [SkipLocalsInit]
    public static void Add<TMap, TLanes>(Square source, Square destination, int channels)
        where TMap : ILinearMap
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* memory = stackalloc float[HalfLength<TLanes>() + (MaximumSide * TLanes.Count)], half = Align(memory);
        float* line = half + (MaximumSide * MaximumSide * TLanes.Count);
        nint row = TMap.Inputs * TLanes.Count;
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            ApplyToColumns<TMap, TLanes>(source.Moved(channel), half);
            for (nint y = 0; y < TMap.Outputs; y++)
            {
                float* target = destination.Data + channel + (y * destination.RowStride);
                TMap.Apply<TLanes>(half + (y * row), TLanes.Count, line, TLanes.Count);
                for (nint x = 0; x < TMap.Outputs; x++, target += destination.ColumnStride)
                    TLanes.Store(target, TLanes.Add(TLanes.Load(target), TLanes.Load(line + (x * TLanes.Count))));
            }
        }
    }

    /// <summary>Floats for the largest square, and a line to align it in.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int HalfLength<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes> => (MaximumSide * MaximumSide * TLanes.Count) + ArenaPlan.Alignment;

    /// <summary>The next cache line: a stack is aligned to 16 bytes only, and a vector across two lines is slow to store and slower to read back.</summary>
    private static float* Align(float* memory) => (float*)(((nuint)memory + 63) & ~(nuint)63);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ApplyToColumns<TMap, TLanes>(Square source, float* half)
        where TMap : ILinearMap
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint row = TMap.Inputs * TLanes.Count;
        for (nint x = 0; x < TMap.Inputs; x++)
            TMap.Apply<TLanes>(source.Data + (x * source.ColumnStride), source.RowStride, half + (x * TLanes.Count), row);
    }
}
