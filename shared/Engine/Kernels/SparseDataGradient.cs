using System.Numerics;
using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dx[place + tap, c] = sum of gradient w[f, tap, c] over the live gradients of 2x2 windows of 3x3 convolutions.
///
/// dx is (N,H,W,C) with C padded to whole lines; w is (block, F, 3, 3, a vector of channels). A window covers a patch of 4x4
/// pixels, of which the next one's covers half again. With 32 registers a tile is the whole patch x a vector of channels, 16
/// accumulators and one broadcast, and slides along a row of windows: what lies under the next window stays in registers, and
/// only what the row of windows above left is loaded. With 16 registers it is three rows of the patch, those under the window's upper or
/// lower positions: 12 and 1. Within it each position has fixed registers, which is why the gradients come by position. Every
/// multiply-add reads its own vector of w; a block of w stays in the first cache over all windows. Bound by those reads, as
/// many as multiply-adds. No tail. Each pixel is one chain of multiply-adds over windows, positions and filters in order: the
/// same bits at any width.
/// </summary>
internal readonly unsafe ref struct SparseDataGradient
{
    /// <summary>N, and the windows of a sample: the first one's patch begins at its first pixel.</summary>
    public required int Samples { get; init; }

    public required int WindowRows { get; init; }

    public required int WindowColumns { get; init; }

    /// <summary>The gradient by the pooled values: a row of <see cref="FilterStride"/> for each window, in order.</summary>
    public required float* Gradient { get; init; }

    /// <summary>The windows' masks from <see cref="LiveGradients"/>.</summary>
    public required ulong* Masks { get; init; }

    /// <summary>F, and its padded stride.</summary>
    public required int Filters { get; init; }

    public required int FilterStride { get; init; }

    /// <summary>w.</summary>
    public required float* Weights { get; init; }

    /// <summary>Floats from one sample of dx to the next, from one row, and from one pixel (C, padded).</summary>
    public required int SampleStride { get; init; }

    public required int RowStride { get; init; }

    public required int ChannelStride { get; init; }

    /// <summary>Writes dx.</summary>
    public void Write<TLanes>(float* inputGradient)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint sample = 0; sample < Samples; sample++)
            Clear<TLanes>(inputGradient + (sample * SampleStride));
        for (nint channel = 0; channel < ChannelStride; channel += TLanes.Count)
            WriteBlock<TLanes>(inputGradient + channel, Weights + (channel * 9 * Filters));
    }

    /// <summary>Clears what is added to: the rows that the first windows begin on, and what no window covers; or else everything.</summary>
    private void Clear<TLanes>(float* sample)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int rows = TLanes.HasManyRegisters ? (2 * WindowRows) + 2 : 0, columns = ((2 * WindowColumns) + 2) * ChannelStride;
        new Span<float>(sample, Math.Min(2, rows) * RowStride).Clear();
        for (nint row = 2; row < rows && columns < RowStride; row++)
            new Span<float>(sample + (row * RowStride) + columns, RowStride - columns).Clear();
        new Span<float>(sample + ((nint)rows * RowStride), SampleStride - (rows * RowStride)).Clear();
    }

    private void WriteBlock<TLanes>(float* inputGradient, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint windows = WindowColumns, filterStride = FilterStride;
        float* gradient = Gradient;
        ulong* masks = Masks;
        int words = LiveGradients.MaskWords(FilterStride);
        for (nint sample = 0; sample < Samples; sample++)
        {
            float* patch = inputGradient + (sample * SampleStride);
            for (nint row = 0; row < WindowRows; row++, patch += 2 * RowStride)
            {
                if (TLanes.HasManyRegisters)
                    SlideAlong<TLanes>(patch, gradient, masks, words, weights);
                else
                    AddHalves<TLanes>(patch, gradient, masks, words, weights);
                gradient += windows * filterStride;
                masks += windows * words;
            }
        }
    }

    private void SlideAlong<TLanes>(float* patch, float* gradient, ulong* masks, int words, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint rowStride = RowStride, channelStride = ChannelStride, filterStride = FilterStride;
        PatchRow<TLanes> first = PatchRow<TLanes>.Load(patch, channelStride), second = PatchRow<TLanes>.Load(patch + rowStride, channelStride);
        PatchRow<TLanes> third = PatchRow<TLanes>.Zero, fourth = third;
        for (nint left = WindowColumns; ;)
        {
            AddPosition<Left, TLanes>(ref first, ref second, ref third, gradient, masks, words, weights);
            AddPosition<Right, TLanes>(ref first, ref second, ref third, gradient, masks + 1, words, weights);
            AddPosition<Left, TLanes>(ref second, ref third, ref fourth, gradient, masks + 2, words, weights);
            AddPosition<Right, TLanes>(ref second, ref third, ref fourth, gradient, masks + 3, words, weights);
            if (--left == 0)
                break;
            gradient += filterStride;
            masks += words;
            first.StoreLeft(patch, channelStride);
            second.StoreLeft(patch + rowStride, channelStride);
            third.StoreLeft(patch + (2 * rowStride), channelStride);
            fourth.StoreLeft(patch + (3 * rowStride), channelStride);
            patch += 2 * channelStride;
            first = first.Slide(patch, channelStride);
            second = second.Slide(patch + rowStride, channelStride);
            third = third.Slide();
            fourth = fourth.Slide();
        }

        first.Store(patch, channelStride);
        second.Store(patch + rowStride, channelStride);
        third.Store(patch + (2 * rowStride), channelStride);
        fourth.Store(patch + (3 * rowStride), channelStride);
    }

    private void AddHalves<TLanes>(float* patch, float* gradient, ulong* masks, int words, float* weights)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint rowStride = RowStride, channelStride = ChannelStride;
        for (nint window = 0; window < WindowColumns; window++, patch += 2 * channelStride, gradient += FilterStride, masks += words)
        {
            for (nint half = 0; half < 2; half++)
            {
                float* rows = patch + (half * rowStride);
                ulong* positions = masks + (2 * half);
                PatchRow<TLanes> top = PatchRow<TLanes>.Load(rows, channelStride), middle = PatchRow<TLanes>.Load(rows + rowStride, channelStride);
                PatchRow<TLanes> bottom = PatchRow<TLanes>.Load(rows + (2 * rowStride), channelStride);
                AddPosition<Left, TLanes>(ref top, ref middle, ref bottom, gradient, positions, words, weights);
                AddPosition<Right, TLanes>(ref top, ref middle, ref bottom, gradient, positions + 1, words, weights);
                top.Store(rows, channelStride);
                middle.Store(rows + rowStride, channelStride);
                bottom.Store(rows + (2 * rowStride), channelStride);
            }
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
