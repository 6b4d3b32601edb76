namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[f, tap, c] += sum over f's live gradients of gradient x[place + tap, c], for a 3x3 kernel.
///
/// x is (N,H,W,C) with C padded to whole lines. A tile is one filter x 9 taps x a row of channels, in registers over all its
/// gradients: with 32 registers two vectors (18 accumulators, 1 broadcast), with 16 one (9 and 1). Every multiply-add reads
/// its own vector of x, so x must be in the first cache: the caller brings a few samples at a time, and the sums go on where
/// they stopped. No tail: padding channels are summed like the others and dropped by whoever reads dw. Each weight is one
/// chain of multiply-adds over the windows in order, so neither tile nor width nor the caller's groups show in the bits.
/// </summary>
internal static unsafe class SparseWeightGradient
{
    /// <param name="input">x.</param>
    /// <param name="rowStride">Floats from one row of x to the next.</param>
    /// <param name="channelStride">C, padded: floats from one pixel to the next.</param>
    /// <param name="gradients">One filter's.</param>
    /// <param name="weights">dw of that filter: 9 rows of <paramref name="channelStride"/> floats.</param>
    /// <param name="isFirst">Whether the sums begin here.</param>
    public static void Add<TLanes>(float* input, nint rowStride, int channelStride, ReadOnlySpan<LiveGradient> gradients, float* weights, bool isFirst)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int channel = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; channel + Pair<TLanes>.Count <= channelStride; channel += Pair<TLanes>.Count)
                AddChannels<Pair<TLanes>>(input + channel, rowStride, channelStride, gradients, weights + channel, isFirst);
        }

        for (; channel < channelStride; channel += TLanes.Count)
            AddChannels<TLanes>(input + channel, rowStride, channelStride, gradients, weights + channel, isFirst);
    }

    private static void AddChannels<TRow>(
        float* input, nint rowStride, nint channelStride, ReadOnlySpan<LiveGradient> gradients, float* weights, bool isFirst)
        where TRow : unmanaged, ILanes<TRow>
    {
        KernelSums<TRow> sums = isFirst ? KernelSums<TRow>.Zero : KernelSums<TRow>.Load(weights, channelStride);
        foreach (ref readonly LiveGradient live in gradients)
            sums.AddRows(TRow.Splat(live.Value), input + live.Place, rowStride, channelStride);
        sums.Store(weights, channelStride);
    }
}
