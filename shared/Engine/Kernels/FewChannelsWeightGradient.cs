namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[tap, c, f] = sum over windows of x[winning position + tap, c] gradient[f], for a 3x3 kernel over an image of few channels,
/// where a vector of them would be mostly padding.
///
/// x is (N,H,W,C) in any channel stride, dw (3,3,C,F) unpadded. A tile is one channel x 9 taps x a vector of filters: 9
/// accumulators, to which every window that is not empty adds its four positions, each with the gradients of the filters that it won. Bound by
/// the multiply-add units. The last filters are stored lane by lane. Each weight is one chain of multiply-adds over windows
/// and positions in order, so the width does not show in the bits.
/// </summary>
internal static unsafe class FewChannelsWeightGradient
{
    /// <param name="input">x.</param>
    /// <param name="places">For each window the place of its first position in x.</param>
    /// <param name="windows">The windows that count.</param>
    /// <param name="winners">A row of <paramref name="filterStride"/> for each window.</param>
    /// <param name="gradient">The same for the gradient by the pooled values.</param>
    /// <param name="weights">dw.</param>
    public static void Run<TLanes>(
        float* input, nint rowStride, nint channelStride, int channels, ReadOnlySpan<int> places, ReadOnlySpan<int> windows,
        byte* winners, float* gradient, int filterStride, float* weights, int filters)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* taps = stackalloc float[9 * TLanes.Count];
        for (nint filter = 0; filter < filters; filter += TLanes.Count)
        {
            for (nint channel = 0; channel < channels; channel++)
            {
                Sum<TLanes>(input + channel, rowStride, channelStride, places, windows, winners + filter, gradient + filter, filterStride, taps);
                float* target = weights + (channel * filters) + filter;
                for (nint tap = 0; tap < 9; tap++)
                    OuterSum.StoreFirst(target + (tap * channels * filters), TLanes.Load(taps + (tap * TLanes.Count)), filters - (int)filter);
            }
        }
    }

    private static void Sum<TLanes>(
        float* input, nint rowStride, nint channelStride, ReadOnlySpan<int> places, ReadOnlySpan<int> windows,
        byte* winners, float* gradient, nint filterStride, float* taps)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        KernelSums<TLanes> sums = KernelSums<TLanes>.Zero;
        foreach (int window in windows)
        {
            float* x = input + places[window];
            TLanes winner = TLanes.LoadBytes(winners + (window * filterStride)), passing = TLanes.Load(gradient + (window * filterStride));
            sums.AddValues(WindowMaximum.GradientAt(1, winner, passing), x, rowStride, channelStride);
            sums.AddValues(WindowMaximum.GradientAt(2, winner, passing), x + channelStride, rowStride, channelStride);
            sums.AddValues(WindowMaximum.GradientAt(3, winner, passing), x + rowStride, rowStride, channelStride);
            sums.AddValues(WindowMaximum.GradientAt(4, winner, passing), x + rowStride + channelStride, rowStride, channelStride);
        }

        sums.Store(taps, TLanes.Count);
    }
}
