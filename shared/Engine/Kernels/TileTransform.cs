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
}

/// <summary>Y = T X T' of a square of rows, a linear map applied down the columns and then along the rows.</summary>
internal static unsafe class TileTransform
{
    /// <summary>The largest square a map may have, on either side.</summary>
    public const int MaximumSide = 6;

    /// <param name="channels">Floats in a row, a multiple of the lanes.</param>
    [SkipLocalsInit]
    public static void Apply<TMap, TLanes>(Square source, Square destination, int channels)
        where TMap : ILinearMap
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* half = stackalloc float[MaximumSide * MaximumSide * TLanes.Count];
        nint row = TMap.Inputs * TLanes.Count;
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            float* from = source.Data + channel, to = destination.Data + channel;
            for (nint x = 0; x < TMap.Inputs; x++)
                TMap.Apply<TLanes>(from + (x * source.ColumnStride), source.RowStride, half + (x * TLanes.Count), row);
            for (nint y = 0; y < TMap.Outputs; y++)
                TMap.Apply<TLanes>(half + (y * row), TLanes.Count, to + (y * destination.RowStride), destination.ColumnStride);
        }
    }
}
