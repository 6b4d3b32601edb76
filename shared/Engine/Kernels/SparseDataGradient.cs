using System.Numerics;
using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dx[place + tap, c] = sum of gradient w[f, tap, c] over the live gradients of 2x2 windows of 3x3 convolutions.
///
/// dx is (N,H,W,C) with C padded to whole lines; w is (block, F, 3, 3, a vector of channels). A window covers a patch of 4x4
/// pixels. With 32 registers a tile is the whole patch x a vector of channels: 16 accumulators and one broadcast. With 16
/// registers it is three rows of it, those under the window's upper or lower positions: 12 and 1. Within it each position has
/// fixed registers, which is why the gradients come by position. Every multiply-add reads its own vector of w; a block of w
/// stays in the first cache over all windows, and pixels are cleared just before the first window that reaches them, not in a
/// pass of their own. Bound by those reads and the ends of the short loops. No tail. Each pixel is
/// one chain of multiply-adds over windows, positions and filters in order: the same bits at any width.
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

    /// <summary>Floats of dx in all.</summary>
    public required nint Length { get; init; }

    /// <summary>Writes dx.</summary>
    public void Write<TLanes>(float* inputGradient)
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
        float* cleared = inputGradient;
        foreach (int window in Windows)
        {
            float* patch = inputGradient + window;
            Clear<TLanes>(ref cleared, patch + (3 * rowStride) + (4 * channelStride), channelStride);
            if (TLanes.HasManyRegisters)
                AddPatch<TLanes>(patch, rowStride, channelStride, gradient, masks, words, weights);
            else
                AddHalves<TLanes>(patch, rowStride, channelStride, gradient, masks, words, weights);
            gradient += FilterStride;
            masks += words;
        }

        Clear<TLanes>(ref cleared, inputGradient + Length, channelStride);
    }

    /// <summary>Clears a vector of channels in the pixels that are next, up to an end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Clear<TLanes>(ref float* next, float* end, nint channelStride)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (; next < end; next += channelStride)
            TLanes.Store(next, TLanes.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPatch<TLanes>(float* patch, nint rowStride, nint channelStride, float* gradient, ulong* masks, int words, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        PatchRow<TLanes> first = PatchRow<TLanes>.Load(patch, channelStride), second = PatchRow<TLanes>.Load(patch + rowStride, channelStride);
        PatchRow<TLanes> third = PatchRow<TLanes>.Load(patch + (2 * rowStride), channelStride), fourth = PatchRow<TLanes>.Load(patch + (3 * rowStride), channelStride);
        AddPosition<Left, TLanes>(ref first, ref second, ref third, gradient, masks, words, weights);
        AddPosition<Right, TLanes>(ref first, ref second, ref third, gradient, masks + 1, words, weights);
        AddPosition<Left, TLanes>(ref second, ref third, ref fourth, gradient, masks + 2, words, weights);
        AddPosition<Right, TLanes>(ref second, ref third, ref fourth, gradient, masks + 3, words, weights);
        first.Store(patch, channelStride);
        second.Store(patch + rowStride, channelStride);
        third.Store(patch + (2 * rowStride), channelStride);
        fourth.Store(patch + (3 * rowStride), channelStride);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddHalves<TLanes>(float* patch, nint rowStride, nint channelStride, float* gradient, ulong* masks, int words, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int half = 0; half < 2; half++, patch += rowStride, masks += 2)
        {
            PatchRow<TLanes> top = PatchRow<TLanes>.Load(patch, channelStride), middle = PatchRow<TLanes>.Load(patch + rowStride, channelStride);
            PatchRow<TLanes> bottom = PatchRow<TLanes>.Load(patch + (2 * rowStride), channelStride);
            AddPosition<Left, TLanes>(ref top, ref middle, ref bottom, gradient, masks, words, weights);
            AddPosition<Right, TLanes>(ref top, ref middle, ref bottom, gradient, masks + 1, words, weights);
            top.Store(patch, channelStride);
            middle.Store(patch + rowStride, channelStride);
            bottom.Store(patch + (2 * rowStride), channelStride);
        }
    }

    /// <summary>All gradients of one position, whose three rows of pixels are given.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddPosition<TColumn, TLanes>(
        ref PatchRow<TLanes> top, ref PatchRow<TLanes> middle, ref PatchRow<TLanes> bottom, float* gradient, ulong* masks, int words, float* weights)
        where TColumn : IColumn
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int word = 0; word < words; word += 4)
        {
            for (ulong live = masks[word]; live != 0; live &= live - 1)
            {
                nint filter = BitOperations.TrailingZeroCount(live);
                TLanes value = TLanes.Splat(gradient[filter]);
                float* taps = weights + (filter * (9 * TLanes.Count));
                TColumn.Add(ref top, value, taps);
                TColumn.Add(ref middle, value, taps + (3 * TLanes.Count));
                TColumn.Add(ref bottom, value, taps + (6 * TLanes.Count));
            }

            gradient += LiveGradients.WordLength;
            weights += LiveGradients.WordLength * 9 * TLanes.Count;
        }
    }

    /// <summary>Which column of the window a position is in.</summary>
    private interface IColumn
    {
        static abstract void Add<TLanes>(ref PatchRow<TLanes> row, TLanes gradient, float* taps)
            where TLanes : unmanaged, ILanes<TLanes>;
    }

    private readonly struct Left : IColumn
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Add<TLanes>(ref PatchRow<TLanes> row, TLanes gradient, float* taps)
            where TLanes : unmanaged, ILanes<TLanes> => row.AddLeft(gradient, taps);
    }

    private readonly struct Right : IColumn
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Add<TLanes>(ref PatchRow<TLanes> row, TLanes gradient, float* taps)
            where TLanes : unmanaged, ILanes<TLanes> => row.AddRight(gradient, taps);
    }
}
