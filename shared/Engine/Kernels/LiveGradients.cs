using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// The gradients that pass the pooling: of each 2x2 window only the winner gets any, and none where the pooled value is 0
/// after ReLU. About one in six is left, and skipping the others loses nothing: they are zeros.
///
/// Nothing is listed: who lives is marked in bits, for the data's gradient by window, filters in words of 64 for each
/// position, and for the weights' by filter, 64 windows to a word.
/// </summary>
internal static unsafe class LiveGradients
{
    /// <summary>Filters, or windows, in a word.</summary>
    public const int WordLength = 64;

    /// <summary>Words of masks that a window has: for each 64 filters one for each position.</summary>
    public static int MaskWords(int filterStride) => 4 * ((filterStride + WordLength - 1) / WordLength);

    /// <summary>Marks up to 64 windows.</summary>
    /// <param name="winners">A row of <see cref="WindowMaximum"/>'s winners for each.</param>
    /// <param name="filterStride">F, padded. Padding never wins.</param>
    /// <param name="masks">Receives for each window and 64 filters four masks: bit f is set where filter f's winner is that position.</param>
    /// <param name="byFilter">Receives for each of the filters, padded to whole words, one word: bit w is set where it lives in window w.</param>
    public static void Mark(byte* winners, int windows, int filterStride, ulong* masks, ulong* byFilter)
    {
        int words = MaskWords(filterStride);
        for (int first = 0; first < filterStride; first += WordLength, masks += 4, byFilter += WordLength)
        {
            int filters = Math.Min(WordLength, filterStride - first);
            for (nint window = 0; window < windows; window++)
                byFilter[window] = Mark(winners + (window * filterStride) + first, filters, masks + (window * words));
            new Span<ulong>(byFilter + windows, WordLength - windows).Clear();
            Transpose(byFilter);
        }
    }

    /// <summary>Writes the four positions' masks and returns that of all which live.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ulong Mark(byte* winners, int count, ulong* masks)
    {
        ulong live = 0;
        for (byte position = 1; position <= 4; position++)
        {
            ulong mask = 0;
            if (Vector512.IsHardwareAccelerated && count == WordLength)
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

    /// <summary>Exchanges rows and columns of 64 x 64 bits by halves: Warren, "Hacker's Delight", 7-3.</summary>
    private static void Transpose(ulong* rows)
    {
        ulong mask = 0x0000_0000_FFFF_FFFF;
        for (int half = 32; half > 0; half >>= 1, mask ^= mask << half)
        {
            for (int row = 0; row < WordLength; row = (row + half + 1) & ~half)
            {
                ulong exchanged = ((rows[row] >> half) ^ rows[row + half]) & mask;
                rows[row] ^= exchanged << half;
                rows[row + half] ^= exchanged;
            }
        }
    }
}
