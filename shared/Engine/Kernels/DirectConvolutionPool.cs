using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// pooled = relu(max over 2x2 windows of (x * w) + b) for a 3x3 kernel: the convolution itself never reaches memory, and what
/// the pool drops at an odd edge is never computed.
///
/// x is (N,H,W,C) in any channel stride, w (3,3,C,F) with F padded to a multiple of 16. A tile is one or two windows x a row
/// of filters: 4 or 8 rows of accumulators. With 32 registers 4x4 vectors (16 accumulators, 4 weights, 1 broadcast), 8x2 or
/// 8x1 where there are fewer filters; with 16 registers 4x2 (8, 2 and 1) or 8x1. Bound by the multiply-add units. A window
/// left over is its own partner. Each sum is one chain of multiply-adds over (row, column, channel), so neither tile nor
/// width shows in the bits.
/// </summary>
internal readonly unsafe ref struct DirectConvolutionPool
{
    /// <summary>x.</summary>
    public required float* Input { get; init; }

    /// <summary>For each window its place in x.</summary>
    public required ReadOnlySpan<int> Places { get; init; }

    /// <summary>w.</summary>
    public required float* Weights { get; init; }

    public required float* Bias { get; init; }

    /// <summary>F, padded.</summary>
    public required int FilterStride { get; init; }

    /// <summary>C.</summary>
    public required int Channels { get; init; }

    /// <summary>Floats from one row of x to the next, and from one pixel to the next.</summary>
    public required nint RowStride { get; init; }

    public required nint ChannelStride { get; init; }

    /// <summary>Receives a row of <see cref="FilterStride"/> values for each window.</summary>
    public required float* Pooled { get; init; }

    /// <summary>Receives the winners likewise.</summary>
    public required byte* Winners { get; init; }

    /// <param name="windows">Which windows.</param>
    public void Run<TLanes>(ReadOnlySpan<int> windows)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int filter = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; filter + Quad<TLanes>.Count <= FilterStride; filter += Quad<TLanes>.Count)
                RunRow<Quad<TLanes>, TLanes>(windows, filter);
        }

        for (; filter + Pair<TLanes>.Count <= FilterStride; filter += Pair<TLanes>.Count)
            RunRow<Pair<TLanes>, TLanes>(windows, filter);
        for (; filter < FilterStride; filter += TLanes.Count)
            RunRow<TLanes, TLanes>(windows, filter);
    }

    /// <summary>The same for windows that see only zeros: what is left is the bias.</summary>
    public void RunEmpty<TLanes>(ReadOnlySpan<int> windows)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        if (windows.IsEmpty)
            return;
        int filter = 0;
        for (; filter + Pair<TLanes>.Count <= FilterStride; filter += Pair<TLanes>.Count)
            RunEmptyRow<Pair<TLanes>>(windows, filter);
        for (; filter < FilterStride; filter += TLanes.Count)
            RunEmptyRow<TLanes>(windows, filter);
    }

    private void RunEmptyRow<TRow>(ReadOnlySpan<int> windows, int filter)
        where TRow : unmanaged, ILanes<TRow>
    {
        float* values = Pooled + filter;
        byte* winners = Winners + filter;
        nint filterStride = FilterStride, first = windows[0] * filterStride;
        WindowMaximum.Take(TRow.Zero, TRow.Zero, TRow.Zero, TRow.Zero, Bias + filter, values + first, winners + first);
        TRow value = TRow.Load(values + first), winner = TRow.LoadBytes(winners + first);
        foreach (int window in windows)
        {
            TRow.Store(values + (window * filterStride), value);
            TRow.StoreBytes(winners + (window * filterStride), winner);
        }
    }

    private void RunRow<TRow, TLanes>(ReadOnlySpan<int> windows, int filter)
        where TRow : unmanaged, ILanes<TRow>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        bool hasTwo = 8 * TRow.Count <= (TLanes.HasManyRegisters ? 16 : 8) * TLanes.Count;
        int step = hasTwo ? 2 : 1;
        nint rowStride = RowStride, channelStride = ChannelStride, filterStride = FilterStride;
        // Without padding between pixels a row of the kernel is one stretch of three pixels.
        (int stretches, int length) = ChannelStride == Channels ? (1, 3 * Channels) : (3, Channels);
        for (int i = 0; i < windows.Length; i += step)
        {
            int first = windows[i], second = windows[Math.Min(i + step - 1, windows.Length - 1)];
            float* corner = Input + Places[first], weights = Weights + filter;
            nint apart = Places[second] - Places[first];
            WindowSums<TRow> sums = WindowSums<TRow>.Zero, others = sums;
            for (nint row = 0; row < 3; row++)
            {
                for (nint stretch = 0; stretch < stretches; stretch++)
                {
                    float* x = corner + (row * rowStride) + (stretch * channelStride);
                    for (float* stop = x + length; x < stop; x++)
                    {
                        TRow weight = TRow.Load(weights);
                        sums.Add(x, rowStride, channelStride, weight);
                        if (hasTwo)
                            others.Add(x + apart, rowStride, channelStride, weight);
                        weights += filterStride;
                    }
                }
            }

            nint place = (first * filterStride) + filter;
            sums.Take(Bias + filter, Pooled + place, Winners + place);
            if (!hasTwo)
                continue;
            place = (second * filterStride) + filter;
            others.Take(Bias + filter, Pooled + place, Winners + place);
        }
    }
}

/// <summary>Accumulators for the four positions of a 2x2 window.</summary>
internal unsafe struct WindowSums<TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private TRow _topLeft, _topRight, _bottomLeft, _bottomRight;

    public static WindowSums<TRow> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new() { _topLeft = TRow.Zero, _topRight = TRow.Zero, _bottomLeft = TRow.Zero, _bottomRight = TRow.Zero };
    }

    /// <summary>Adds the product of a row of weights and each position's own value, the first of which is at x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(float* x, nint rowStride, nint channelStride, TRow weight)
    {
        TRow.Accumulate(ref _topLeft, weight, TRow.Splat(*x));
        TRow.Accumulate(ref _topRight, weight, TRow.Splat(x[channelStride]));
        TRow.Accumulate(ref _bottomLeft, weight, TRow.Splat(x[rowStride]));
        TRow.Accumulate(ref _bottomRight, weight, TRow.Splat(x[rowStride + channelStride]));
    }

    /// <summary>What <see cref="WindowMaximum"/> keeps of them.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Take(float* bias, float* pooled, byte* winners) =>
        WindowMaximum.Take(_topLeft, _topRight, _bottomLeft, _bottomRight, bias, pooled, winners);
}
