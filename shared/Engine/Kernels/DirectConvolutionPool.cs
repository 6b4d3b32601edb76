using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// pooled = relu(max over 2x2 windows of (x * w) + b) for a 3x3 kernel: the convolution itself never reaches memory, and what
/// the pool drops at an odd edge is never computed.
///
/// x is (N,H,W,C) in any channel stride, w (3,3,C,F) with F padded to a multiple of 16. A tile is one or two neighbouring
/// windows x a row of filters: 4 or 8 rows of accumulators. With 32 registers 4x4 vectors (16 accumulators, 4 weights, 1
/// broadcast), 8x2 or 8x1 where there are fewer filters; with 16 registers 4x2 (8, 2 and 1). Bound by the multiply-add
/// units, with one or two vectors by their latency. A window left over at the end of a line is a tile of one. Each sum is one
/// chain of multiply-adds over (row, column, channel), so neither tile nor width shows in the bits.
/// </summary>
internal readonly unsafe struct DirectConvolutionPool
{
    public required float* Weights { get; init; }

    public required float* Bias { get; init; }

    /// <summary>F, padded.</summary>
    public required int FilterStride { get; init; }

    /// <summary>C.</summary>
    public required int Channels { get; init; }

    public required nint RowStride { get; init; }

    public required nint ChannelStride { get; init; }

    /// <summary>Windows in a line of the pooled image.</summary>
    public required int Windows { get; init; }

    /// <summary>One line of windows.</summary>
    /// <param name="source">x at the line's first window.</param>
    public void RunLine<TLanes>(float* source, float* pooled, float* winners)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int filter = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; filter + Quad<TLanes>.Count <= FilterStride; filter += Quad<TLanes>.Count)
                RunWindows<Rows2<Quad<TLanes>>, Quad<TLanes>, TLanes>(source, pooled, winners, filter, 0, Windows);
        }

        for (; filter + Pair<TLanes>.Count <= FilterStride; filter += Pair<TLanes>.Count)
        {
            int pairs = TLanes.HasManyRegisters ? Windows / 2 * 2 : 0;
            RunWindows<Rows4<Pair<TLanes>>, Pair<TLanes>, TLanes>(source, pooled, winners, filter, 0, pairs);
            RunWindows<Rows2<Pair<TLanes>>, Pair<TLanes>, TLanes>(source, pooled, winners, filter, pairs, Windows);
        }

        for (; filter < FilterStride; filter += TLanes.Count)
        {
            int pairs = Windows / 2 * 2;
            RunWindows<Rows4<TLanes>, TLanes, TLanes>(source, pooled, winners, filter, 0, pairs);
            RunWindows<Rows2<TLanes>, TLanes, TLanes>(source, pooled, winners, filter, pairs, Windows);
        }
    }

    /// <summary>The windows [first, end): a tile holds two rows for each of its windows above, and as many below.</summary>
    [SkipLocalsInit]
    private void RunWindows<TTile, TRow, TLanes>(float* source, float* pooled, float* winners, int filter, int first, int end)
        where TTile : unmanaged, IRowTile<TTile, TRow>
        where TRow : unmanaged, ILanes<TRow>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* convolved = stackalloc float[2 * TTile.Rows * TRow.Count];
        // Without padding between pixels a row of the kernel is one stretch of three pixels.
        (int stretches, int length) = ChannelStride == Channels ? (1, 3 * Channels) : (3, Channels);
        for (nint window = first; window < end; window += TTile.Rows / 2)
        {
            TTile top = TTile.Repeat(TRow.Zero), bottom = top;
            float* corner = source + (window * 2 * ChannelStride), weights = Weights + filter;
            for (nint row = 0; row < 3; row++)
            {
                for (nint stretch = 0; stretch < stretches; stretch++)
                {
                    float* x = corner + (row * RowStride) + (stretch * ChannelStride);
                    for (float* stop = x + length; x < stop; x++)
                    {
                        TRow weight = TRow.Load(weights);
                        top = TTile.MultiplyAdd(x, ChannelStride, weight, top);
                        bottom = TTile.MultiplyAdd(x + RowStride, ChannelStride, weight, bottom);
                        weights += FilterStride;
                    }
                }
            }

            TTile.Store(convolved, TRow.Count, top);
            TTile.Store(convolved + (TTile.Rows * TRow.Count), TRow.Count, bottom);
            for (nint i = 0; i < TTile.Rows / 2; i++)
            {
                nint place = ((window + i) * FilterStride) + filter;
                Square sums = new(convolved + (i * 2 * TRow.Count), TTile.Rows * TRow.Count, TRow.Count);
                WindowMaximum.Take<TLanes>(sums, Bias + filter, pooled + place, winners + place, TRow.Count);
            }
        }
    }
}
