using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[tap, c, f] = sum over windows of x[winning position + tap, c] gradient[f], for a 3x3 kernel over an image of few channels,
/// where a vector of them would be mostly padding.
///
/// x is (N,H,W,C) in any channel stride, dw (3,3,C,F) unpadded. A tile is one channel x 9 taps x a row of filters: with 32
/// registers two vectors (18 accumulators), with 16 one (9). To them every window that is not empty adds one product a tap:
/// each filter picks its own of the four positions' values, which a permutation in registers does for all lanes. Bound by
/// those permutations and the multiply-add units. The last filters are stored lane by lane. Each weight is one chain of
/// multiply-adds over windows in order, so the width does not show in the bits.
/// </summary>
internal readonly unsafe ref struct FewChannelsWeightGradient
{
    private const int Taps = 9, PatchSide = 4;

    /// <summary>x.</summary>
    public required float* Input { get; init; }

    /// <summary>Floats from one row of x to the next, and from one pixel to the next.</summary>
    public required nint RowStride { get; init; }

    public required nint ChannelStride { get; init; }

    /// <summary>C.</summary>
    public required int Channels { get; init; }

    /// <summary>For each window the place of its first position in x.</summary>
    public required ReadOnlySpan<int> Places { get; init; }

    /// <summary>The windows that count.</summary>
    public required ReadOnlySpan<int> Windows { get; init; }

    /// <summary>A row of <see cref="FilterStride"/> for each window.</summary>
    public required byte* Winners { get; init; }

    /// <summary>The same for the gradient by the pooled values.</summary>
    public required float* Gradient { get; init; }

    /// <summary>F, padded.</summary>
    public required nint FilterStride { get; init; }

    /// <summary>Writes dw.</summary>
    /// <param name="filters">F.</param>
    public void Write<TLanes>(float* weights, int filters)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int filter = 0;
        if (TLanes.HasManyRegisters)
        {
            for (; filter + Pair<TLanes>.Count <= FilterStride; filter += Pair<TLanes>.Count)
                WriteRow<Pair<TLanes>>(weights, filter, filters);
        }

        for (; filter < FilterStride; filter += TLanes.Count)
            WriteRow<TLanes>(weights, filter, filters);
    }

    private void WriteRow<TRow>(float* weights, int filter, int filters)
        where TRow : unmanaged, ILanes<TRow>
    {
        float* taps = stackalloc float[Taps * TRow.Count];
        for (nint channel = 0; channel < Channels; channel++)
        {
            Sum<TRow>(Input + channel, filter, taps);
            for (nint tap = 0; tap < Taps; tap++)
            {
                OuterSum.StoreFirst(
                    weights + (((tap * Channels) + channel) * filters) + filter, TRow.Load(taps + (tap * TRow.Count)), filters - filter);
            }
        }
    }

    private void Sum<TRow>(float* input, nint filter, float* taps)
        where TRow : unmanaged, ILanes<TRow>
    {
        nint channelStride = ChannelStride, rowStride = channelStride == 1 ? RowStride : PatchSide, filterStride = FilterStride;
        float* patch = stackalloc float[PatchSide * PatchSide], gradients = Gradient + filter;
        byte* winners = Winners + filter;
        KernelSums<TRow> sums = KernelSums<TRow>.Zero;
        foreach (int window in Windows)
        {
            nint place = window * filterStride;
            TRow winner = TRow.LoadBytes(winners + place);
            TRow gradient = TRow.SelectGreater(winner, TRow.Splat(WindowMaximum.Dead), TRow.Load(gradients + place), TRow.Zero);
            TRow index = TRow.Add(winner, TRow.Splat(WindowMaximum.IndexBase));
            float* x = input + Places[window];
            if (channelStride != 1)
            {
                CopyPatch(x, RowStride, channelStride, patch);
                x = patch;
            }

            sums.AddPicked(gradient, x, rowStride, index);
        }

        sums.Store(taps, TRow.Count);
    }

    /// <summary>Brings a channel's pixels side by side.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyPatch(float* x, nint rowStride, nint stride, float* patch)
    {
        for (nint row = 0; row < PatchSide; row++, x += rowStride)
            Vector128.Create(*x, x[stride], x[2 * stride], x[3 * stride]).Store(patch + (row * PatchSide));
    }
}
