using System.Numerics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dx[place + tap, c] += gradient w[f, tap, c] over the live gradients of 2x2 windows of 3x3 convolutions.
///
/// dx is (N,H,W,C) with C padded to whole lines; w is (block, F, 3, 3, a vector of channels). A window covers a patch of 4x4
/// pixels. A tile is three rows of it, those under the window's upper or lower positions, x a vector of channels: 12
/// accumulators and one broadcast. Within it the left and the right position have fixed registers, which is why the
/// gradients come by position. Every multiply-add reads its own vector of w; a block of w stays in the first cache over all
/// windows. Bound by those reads and the ends of the short loops. No tail. Each pixel is one chain of multiply-adds over
/// windows, positions and filters in order: the same bits at any width.
/// </summary>
internal readonly unsafe ref struct SparseDataGradient
{
    /// <summary>For each window the place of its patch in dx, in order.</summary>
    public required ReadOnlySpan<int> Windows { get; init; }

    /// <summary>The gradient by the pooled values: a row of <see cref="FilterStride"/> for each window.</summary>
    public required float* Gradient { get; init; }

    /// <summary>The windows' masks from <see cref="LiveGradients"/>.</summary>
    public required ulong* Masks { get; init; }

    /// <summary>F, and its padded stride.</summary>
    public required int Filters { get; init; }

    public required int FilterStride { get; init; }

    /// <summary>w.</summary>
    public required float* Weights { get; init; }

    /// <summary>Floats from one row of dx to the next.</summary>
    public required nint RowStride { get; init; }

    /// <summary>C, padded: floats from one pixel to the next.</summary>
    public required nint ChannelStride { get; init; }

    /// <summary>Adds to dx.</summary>
    public void Add<TLanes>(float* inputGradient)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint channel = 0; channel < ChannelStride; channel += TLanes.Count)
            AddBlock<TLanes>(inputGradient + channel, Weights + (channel * 9 * Filters));
    }

    private void AddBlock<TLanes>(float* inputGradient, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint rowStride = RowStride, channelStride = ChannelStride;
        float* gradient = Gradient;
        ulong* masks = Masks;
        int words = LiveGradients.MaskWords(FilterStride);
        foreach (int window in Windows)
        {
            float* patch = inputGradient + window;
            for (int half = 0; half < 2; half++, patch += rowStride)
            {
                PatchRow<TLanes> top = PatchRow<TLanes>.Load(patch, channelStride);
                PatchRow<TLanes> middle = PatchRow<TLanes>.Load(patch + rowStride, channelStride);
                PatchRow<TLanes> bottom = PatchRow<TLanes>.Load(patch + (2 * rowStride), channelStride);
                float* values = gradient, kernels = weights;
                for (nint word = 2 * half; word < words; word += 4)
                {
                    for (ulong live = masks[word]; live != 0; live &= live - 1)
                    {
                        nint filter = BitOperations.TrailingZeroCount(live);
                        TLanes value = TLanes.Splat(values[filter]);
                        float* taps = kernels + (filter * (9 * TLanes.Count));
                        top.AddLeft(value, taps);
                        middle.AddLeft(value, taps + (3 * TLanes.Count));
                        bottom.AddLeft(value, taps + (6 * TLanes.Count));
                    }

                    for (ulong live = masks[word + 1]; live != 0; live &= live - 1)
                    {
                        nint filter = BitOperations.TrailingZeroCount(live);
                        TLanes value = TLanes.Splat(values[filter]);
                        float* taps = kernels + (filter * (9 * TLanes.Count));
                        top.AddRight(value, taps);
                        middle.AddRight(value, taps + (3 * TLanes.Count));
                        bottom.AddRight(value, taps + (6 * TLanes.Count));
                    }

                    values += LiveGradients.WordFilters;
                    kernels += LiveGradients.WordFilters * 9 * TLanes.Count;
                }

                top.Store(patch, channelStride);
                middle.Store(patch + rowStride, channelStride);
                bottom.Store(patch + (2 * rowStride), channelStride);
            }

            gradient += FilterStride;
            masks += words;
        }
    }
}
