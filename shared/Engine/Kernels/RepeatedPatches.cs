using System.Numerics;
using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Makes exact again what an algorithm with rounding noise (<see cref="IConvolutionAlgorithm.KeepsZeros"/> is false) makes
/// nearly so: of a pooling window's four positions those that see the same patch of input, bit by bit, get the first
/// one's sum, so that the maximum goes to the first of them; and those that see zeros alone get zero, so that ReLU is
/// given the bias and nothing else. Such patches are what is drawn on: the paper around a digit. Other sums are equal or zero only by
/// accident.
///
/// No sum is moved: it is only said which to take. A window has 4x4 pixels, of which all four patches of 3x3 see the inner
/// 2x2. Where those are neither the same nor zero, as within what is drawn, nothing repeats, which a few
/// comparisons tell. Else every pixel is compared with the first inner one, which makes 16 bits. Patches with different bits
/// differ; those with all nine bits set are the same; of others the pixels without a bit remain to be compared, which is rare.
/// Bound by instructions as long as the pixels are in the first cache.
/// </summary>
internal readonly unsafe ref struct RepeatedPatches
{
    private const int Side = 4, Window = 0xFFFF, Patch = 0x777;

    /// <summary>Of the input: floats from one row of pixels to the next, and from one pixel to the next.</summary>
    public required nint RowStride { get; init; }

    public required nint PixelStride { get; init; }

    /// <summary>Of the input, without padding: what lies in that means nothing.</summary>
    public required int Channels { get; init; }

    /// <summary>The place of sums that are zero.</summary>
    public required int Zeros { get; init; }

    /// <summary>The number of each position's first pixel within the window, both in scan order.</summary>
    private static ReadOnlySpan<byte> Corners => [0, 1, Side, Side + 1];

    /// <summary>Says where a window's sums are to be taken from.</summary>
    /// <param name="window">Its first pixel.</param>
    /// <param name="places">Where the sums of its four positions are, in scan order; those that repeat are replaced.</param>
    public void Redirect<TLanes>(float* window, int* places)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* inner = window + RowStride + PixelStride;
        if (!MayRepeat<TLanes>(inner, out bool mayBeZero))
            return;
        int same = SamePixels<TLanes>(window, inner);
        if (same == Window)
        {
            int all = mayBeZero && IsZero<TLanes>(inner) ? Zeros : places[0];
            places[0] = places[1] = places[2] = places[3] = all;
            return;
        }

        for (int position = 0; mayBeZero && position < Corners.Length; position++)
        {
            if (IsZeroPatch<TLanes>(window + Offset(Corners[position])))
                places[position] = Zeros;
        }

        // Each position after those before it, so that the first one's sum wins.
        Join<TLanes>(window, same, places, 0, 1);
        Join<TLanes>(window, same, places, 1, 2);
        Join<TLanes>(window, same, places, 0, 2);
        Join<TLanes>(window, same, places, 2, 3);
        Join<TLanes>(window, same, places, 1, 3);
        Join<TLanes>(window, same, places, 0, 3);
    }

    /// <summary>
    /// Compares the inner pixels by their first line of channels, and without branches, which nobody could predict at the edge of
    /// what is drawn.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private bool MayRepeat<TLanes>(float* inner, out bool mayBeZero)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes zero = TLanes.Zero, across = zero, down = zero, falling = zero, rising = zero, any = zero;
        int channels = Math.Min(Channels, ArenaPlan.Alignment);
        for (nint channel = 0; channel + TLanes.Count <= channels; channel += TLanes.Count)
        {
            float* top = inner + channel, bottom = top + RowStride;
            TLanes topLeft = TLanes.Load(top), topRight = TLanes.Load(top + PixelStride);
            TLanes bottomLeft = TLanes.Load(bottom), bottomRight = TLanes.Load(bottom + PixelStride);
            across = TLanes.OrDifference(TLanes.OrDifference(across, topLeft, topRight), bottomLeft, bottomRight);
            down = TLanes.OrDifference(TLanes.OrDifference(down, topLeft, bottomLeft), topRight, bottomRight);
            falling = TLanes.OrDifference(falling, topLeft, bottomRight);
            rising = TLanes.OrDifference(rising, topRight, bottomLeft);
            any = TLanes.OrDifference(any, topLeft, zero);
        }

        mayBeZero = TLanes.HasNoBits(WithoutSignedZeros(any));
        return mayBeZero | TLanes.HasNoBits(across) | TLanes.HasNoBits(down) | TLanes.HasNoBits(falling) | TLanes.HasNoBits(rising);
    }

    /// <summary>Bit i is set where the window's pixel i, in scan order, is the same as another.</summary>
    private int SamePixels<TLanes>(float* window, float* other)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int same = 0, whole = Channels - (Channels % TLanes.Count);
        for (int row = 0; row < Side; row++, window += RowStride)
        {
            int pixels = SamePixelsOfRow<TLanes>(window, other, 0, whole);
            if (whole < Channels)
                pixels &= SamePixelsOfRow<ScalarLane>(window, other, whole, Channels);
            same |= pixels << (Side * row);
        }

        return same;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int SamePixelsOfRow<TLanes>(float* row, float* other, nint channel, nint end)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        Quad<TLanes> difference = Quad<TLanes>.Zero;
        for (; channel < end; channel += TLanes.Count)
        {
            TLanes value = TLanes.Load(other + channel);
            difference = Quad<TLanes>.OrDifference(difference, Quad<TLanes>.Load(row + channel, PixelStride), new(value, value, value, value));
        }

        return Bit(difference.First) | (Bit(difference.Second) << 1) | (Bit(difference.Third) << 2) | (Bit(difference.Fourth) << 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Bit<TLanes>(TLanes difference)
        where TLanes : unmanaged, ILanes<TLanes> => Unsafe.BitCast<bool, byte>(TLanes.HasNoBits(difference));

    /// <summary>Takes a position's sum from an earlier one that sees the same.</summary>
    /// <param name="same">Which pixels are the same as one of them.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Join<TLanes>(float* window, int same, int* places, int earlier, int position)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int here = (same >> Corners[position]) & Patch;
        bool isSame = here == ((same >> Corners[earlier]) & Patch);
        if (isSame & here != Patch)
            isSame = IsSamePatch(window + Offset(Corners[earlier]), window + Offset(Corners[position]), Patch & ~here);
        int first = places[earlier], own = places[position];
        places[position] = isSame ? first : own;
    }

    /// <param name="left">The pixels that are not known to be the same.</param>
    private bool IsSamePatch(float* patch, float* other, int left)
    {
        for (; left != 0; left &= left - 1)
        {
            nint pixel = Offset(BitOperations.TrailingZeroCount(left));
            if (!new ReadOnlySpan<int>(patch + pixel, Channels).SequenceEqual(new(other + pixel, Channels)))
                return false;
        }

        return true;
    }

    private bool IsZeroPatch<TLanes>(float* patch)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int left = Patch; left != 0; left &= left - 1)
        {
            if (!IsZero<TLanes>(patch + Offset(BitOperations.TrailingZeroCount(left))))
                return false;
        }

        return true;
    }

    /// <summary>Whether all channels of a pixel are zero, of either sign.</summary>
    private bool IsZero<TLanes>(float* pixel)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes any = TLanes.Zero;
        nint channel = 0;
        for (; channel + TLanes.Count <= Channels; channel += TLanes.Count)
            any = TLanes.OrDifference(any, TLanes.Load(pixel + channel), TLanes.Zero);
        bool isZero = TLanes.HasNoBits(WithoutSignedZeros(any));
        for (; channel < Channels; channel++)
            isZero &= pixel[channel] == 0;
        return isZero;
    }

    private static TLanes WithoutSignedZeros<TLanes>(TLanes bits)
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.SelectEqual(bits, TLanes.Zero, TLanes.Zero, bits);

    private nint Offset(int pixel) => (pixel / Side * RowStride) + (pixel % Side * PixelStride);
}
