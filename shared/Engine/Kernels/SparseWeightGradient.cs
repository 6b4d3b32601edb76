using System.Numerics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[f, tap, c] += sum over f's live gradients of gradient x[place + tap, c], for a 3x3 kernel.
///
/// x is (N,H,W,C) with C padded to whole lines. A tile is one filter x 9 taps x a row of channels, in registers over all its
/// gradients: with 32 registers two vectors (18 accumulators, 1 broadcast), with 16 one (9 and 1). Every multiply-add reads
/// its own vector of x, so x must be in the first cache: the caller brings a few windows at a time, and the sums go on where
/// they stopped. No tail: padding channels are summed like the others and dropped by whoever reads dw. Each weight is one
/// chain of multiply-adds over the windows in order, so neither tile nor width nor the caller's groups show in the bits.
/// </summary>
internal readonly unsafe ref struct SparseWeightGradient
{
    /// <summary>x.</summary>
    public required float* Input { get; init; }

    /// <summary>Floats from one row of x to the next.</summary>
    public required nint RowStride { get; init; }

    /// <summary>C, padded: floats from one pixel to the next.</summary>
    public required int ChannelStride { get; init; }

    /// <summary>
    /// For each filter and each of <see cref="LiveGradients.WordLength"/> windows where its winner's patch begins in x. One more is read, and not used.
    /// </summary>
    public required int* Places { get; init; }

    /// <summary>The gradient by the pooled values, likewise.</summary>
    public required float* Gradient { get; init; }

    /// <param name="live">For each filter the windows in which it lives.</param>
    /// <param name="weights">dw: 9 rows of <see cref="ChannelStride"/> floats for each filter.</param>
    /// <param name="isFirst">Whether the sums begin here.</param>
    public void Add<TLanes>(ReadOnlySpan<ulong> live, float* weights, bool isFirst)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int channel = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; channel + Pair<TLanes>.Count <= ChannelStride; channel += Pair<TLanes>.Count)
                AddChannels<Pair<TLanes>>(channel, live, weights + channel, isFirst);
        }

        for (; channel < ChannelStride; channel += TLanes.Count)
            AddChannels<TLanes>(channel, live, weights + channel, isFirst);
    }

    private void AddChannels<TRow>(int channel, ReadOnlySpan<ulong> live, float* weights, bool isFirst)
        where TRow : unmanaged, ILanes<TRow>
    {
        nint rowStride = RowStride, channelStride = ChannelStride;
        float* x = Input + channel, gradient = Gradient;
        int* places = Places;
        foreach (ulong windows in live)
        {
            KernelSums<TRow> sums = isFirst ? KernelSums<TRow>.Zero : KernelSums<TRow>.Load(weights, channelStride);
            // The next place is loaded one window ahead: behind the loads of the multiply-adds it would keep those of the next ones
            // waiting. After the last window that is the row's end, whose place nobody uses.
            nint window = BitOperations.TrailingZeroCount(windows);
            float* patch = x + places[window];
            for (ulong left = windows; left != 0;)
            {
                left &= left - 1;
                nint next = BitOperations.TrailingZeroCount(left);
                float* nextPatch = x + places[next];
                sums.AddRows(TRow.Splat(gradient[window]), patch, rowStride, channelStride);
                window = next;
                patch = nextPatch;
            }

            sums.Store(weights, channelStride);
            weights += 9 * channelStride;
            gradient += LiveGradients.WordLength;
            places += LiveGradients.WordLength;
        }
    }
}
