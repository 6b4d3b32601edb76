using System.Numerics;
using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>A gradient that passed a pooling window, and its winning position's place in the input.</summary>
internal readonly record struct LiveGradient(int Place, float Value);

/// <summary>
/// The gradients that pass the pooling: of each 2x2 window only the winner gets any, and none where the pooled value is 0
/// after ReLU. About one in nine is left, and skipping the others loses nothing: they are zeros.
///
/// For the weights' gradient they are listed by filter, windows in order; for the data's each window gets bit masks of the
/// filters that each position won. Bound by the two stores for each gradient.
/// </summary>
internal readonly unsafe ref struct LiveGradients
{
    /// <summary>Filters in a word of a mask.</summary>
    public const int WordFilters = 64;

    /// <summary>All filters' lists.</summary>
    public required LiveGradient* ByFilter { get; init; }

    /// <summary>Where the next gradient of each filter goes in <see cref="ByFilter"/>.</summary>
    public required int* FilterEnds { get; init; }

    /// <summary>F, padded.</summary>
    public required int FilterStride { get; init; }

    /// <summary>Floats from one row of the input to the next, and from one pixel to the next.</summary>
    public required int RowStride { get; init; }

    public required int ChannelStride { get; init; }

    /// <summary>Words of masks that a window has: for each 64 filters one for each position.</summary>
    public static int MaskWords(int filterStride) => 4 * ((filterStride + WordFilters - 1) / WordFilters);

    /// <summary>Adds the gradients of some windows.</summary>
    /// <param name="windows">For each window its place in the input.</param>
    /// <param name="winners">A row of <see cref="WindowMaximum"/>'s winners for each.</param>
    /// <param name="gradient">The gradient by the pooled values, likewise.</param>
    /// <param name="masks">Receives for each window and 64 filters four masks: bit f is set where filter f's winner is that position.</param>
    public void Add(ReadOnlySpan<int> windows, byte* winners, float* gradient, ulong* masks)
    {
        LiveGradient* list = ByFilter;
        int* offsets = stackalloc int[] { 0, 0, ChannelStride, RowStride, RowStride + ChannelStride };
        foreach (int window in windows)
        {
            for (int first = 0; first < FilterStride; first += WordFilters, masks += 4)
            {
                ulong live = Mark(winners + first, Math.Min(WordFilters, FilterStride - first), masks);
                byte* winner = winners + first;
                float* value = gradient + first;
                int* end = FilterEnds + first;
                for (; live != 0; live &= live - 1)
                {
                    int filter = BitOperations.TrailingZeroCount(live);
                    list[end[filter]++] = new LiveGradient(window + offsets[winner[filter]], value[filter]);
                }
            }

            winners += FilterStride;
            gradient += FilterStride;
        }
    }

    /// <summary>Writes the four positions' masks and returns that of all which live. Padding never wins.</summary>
    private static ulong Mark(byte* winners, int count, ulong* masks)
    {
        ulong live = 0;
        for (byte position = 1; position <= 4; position++)
        {
            ulong mask = 0;
            if (Vector512.IsHardwareAccelerated && count == WordFilters)
            {
                mask = Vector512.Equals(Vector512.Load(winners), Vector512.Create(position)).ExtractMostSignificantBits();
            }
            else
            {
                for (int i = 0; i < count; i += Vector128<byte>.Count)
                    mask |= (ulong)Vector128.Equals(Vector128.Load(winners + i), Vector128.Create(position)).ExtractMostSignificantBits() << i;
            }

            masks[position - 1] = mask;
            live |= mask;
        }

        return live;
    }
}
