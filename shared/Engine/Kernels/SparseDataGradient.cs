namespace Distributed.Engine.Kernels;

/// <summary>
/// dx[place + tap, c] += gradient w[f, tap, c] over the live gradients of 2x2 windows of 3x3 convolutions.
///
/// dx is (N,H,W,C) with C padded to whole lines; w is (block, F, 3, 3, <see cref="BlockChannels"/>). A window covers a patch of 4x4
/// pixels. A tile is three rows of it, those under the window's upper or lower positions, x a block of channels: 12
/// accumulators of one vector (16 registers) or two (32), and one broadcast. Within it the left and the right position have
/// fixed registers, which is why the gradients come sorted by position. Every multiply-add reads its own vector of w; a
/// block of w stays in the caches over all windows. Bound by those reads and the ends of the short loops. No tail. Each
/// pixel is one chain of multiply-adds over windows, positions and filters in order: the same bits at any width.
/// </summary>
internal static unsafe class SparseDataGradient
{
    /// <summary>Channels that a block of weights is wide.</summary>
    public static int BlockChannels<TLanes>(int channelStride)
        where TLanes : unmanaged, ILanes<TLanes> =>
        TLanes.Count;

    /// <param name="windows">For each window the place of its patch in dx, in order.</param>
    /// <param name="gradients">All windows' gradients; places are those of their filter in a block of w.</param>
    /// <param name="positionEnds">Four for each window.</param>
    /// <param name="weights">w.</param>
    /// <param name="blockLength">Floats in a block of w.</param>
    /// <param name="inputGradient">dx, to be added to.</param>
    public static void Add<TLanes>(
        ReadOnlySpan<int> windows, LiveGradient* gradients, int* positionEnds, float* weights, int blockLength, float* inputGradient,
        nint rowStride, int channelStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int block = BlockChannels<TLanes>(channelStride);
        for (int channel = 0; channel < channelStride; channel += block, weights += blockLength)
        {
            if (block == TLanes.Count)
                AddBlock<TLanes>(windows, gradients, positionEnds, weights, inputGradient + channel, rowStride, channelStride);
            else
                AddBlock<Pair<TLanes>>(windows, gradients, positionEnds, weights, inputGradient + channel, rowStride, channelStride);
        }
    }

    private static void AddBlock<TRow>(
        ReadOnlySpan<int> windows, LiveGradient* gradient, int* positionEnds, float* weights, float* inputGradient,
        nint rowStride, nint channelStride)
        where TRow : unmanaged, ILanes<TRow>
    {
        LiveGradient* all = gradient;
        foreach (int window in windows)
        {
            float* patch = inputGradient + window;
            for (int half = 0; half < 2; half++, patch += rowStride)
            {
                LiveGradient* leftEnd = all + *positionEnds++, rightEnd = all + *positionEnds++;
                PatchRow<TRow> top = PatchRow<TRow>.Load(patch, channelStride);
                PatchRow<TRow> middle = PatchRow<TRow>.Load(patch + rowStride, channelStride);
                PatchRow<TRow> bottom = PatchRow<TRow>.Load(patch + (2 * rowStride), channelStride);
                for (; gradient < leftEnd; gradient++)
                {
                    TRow value = TRow.Splat(gradient->Value);
                    float* taps = weights + gradient->Place;
                    top.AddLeft(value, taps);
                    middle.AddLeft(value, taps + (3 * TRow.Count));
                    bottom.AddLeft(value, taps + (6 * TRow.Count));
                }

                for (; gradient < rightEnd; gradient++)
                {
                    TRow value = TRow.Splat(gradient->Value);
                    float* taps = weights + gradient->Place;
                    top.AddRight(value, taps);
                    middle.AddRight(value, taps + (3 * TRow.Count));
                    bottom.AddRight(value, taps + (6 * TRow.Count));
                }

                top.Store(patch, channelStride);
                middle.Store(patch + rowStride, channelStride);
                bottom.Store(patch + (2 * rowStride), channelStride);
            }
        }
    }
}
