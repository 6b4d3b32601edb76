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
/// Each pixel is compared once with its neighbours to the right, below and on both diagonals; a patch of 3x3 repeats where nine such
/// bits are set, which is a few shifts for a whole row of windows. Bound by the loads of those comparisons.
/// </summary>
internal readonly unsafe ref struct RepeatedPatches
{
    /// <summary>Windows whose pixels fit into one word of bits: 2 columns each, and 2 more.</summary>
    private const int WordWindows = 31;

    /// <summary>The convolution's input under the first window of an image, and how many windows it has.</summary>
    public required Square Input { get; init; }

    public required int Rows { get; init; }

    public required int Columns { get; init; }

    /// <summary>Of the input, without padding.</summary>
    public required int Channels { get; init; }

    /// <summary>The windows' sums, without bias.</summary>
    public required Square Sums { get; init; }

    /// <summary>Floats in a row of sums, a multiple of the lanes.</summary>
    public required int Filters { get; init; }

    public void Mend<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int column = 0; column < Columns; column += WordWindows)
        {
            int count = Math.Min(WordWindows, Columns - column);
            PixelRow<TLanes> first = new(this, 0, column, count), second = new(this, 1, column, count);
            for (int row = 0; row < Rows; row++)
            {
                PixelRow<TLanes> third = new(this, (2 * row) + 2, column, count), fourth = new(this, (2 * row) + 3, column, count);
                MendRow(new WindowRow<TLanes>(first, second, third, fourth), row, column);
                (first, second) = (third, fourth);
            }
        }
    }

    private void MendRow<TLanes>(in WindowRow<TLanes> windows, int row, int column)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (ulong left = windows.Any; left != 0; left &= left - 1)
        {
            int x = BitOperations.TrailingZeroCount(left);
            float* topLeft = Sums.Data + (2 * row * Sums.RowStride) + (((2 * column) + x) * Sums.ColumnStride);
            float* topRight = topLeft + Sums.ColumnStride, bottomLeft = topLeft + Sums.RowStride, bottomRight = bottomLeft + Sums.ColumnStride;
            if (Has(windows.TopEmpty, x))
                Set<TLanes>(topLeft, null);
            if (Has(windows.Right, x))
                Set<TLanes>(topRight, topLeft);
            else if (Has(windows.TopEmpty, x + 1))
                Set<TLanes>(topRight, null);
            if (Has(windows.Down, x))
                Set<TLanes>(bottomLeft, topLeft);
            else if (Has(windows.Rising, x))
                Set<TLanes>(bottomLeft, topRight);
            else if (Has(windows.BottomEmpty, x))
                Set<TLanes>(bottomLeft, null);
            if (Has(windows.Falling, x))
                Set<TLanes>(bottomRight, topLeft);
            else if (Has(windows.Down, x + 1))
                Set<TLanes>(bottomRight, topRight);
            else if (Has(windows.BottomRight, x))
                Set<TLanes>(bottomRight, bottomLeft);
            else if (Has(windows.BottomEmpty, x + 1))
                Set<TLanes>(bottomRight, null);
        }
    }

    private static bool Has(ulong bits, int place) => ((bits >> place) & 1) != 0;

    /// <summary>Copies a row of sums, or clears it.</summary>
    private void Set<TLanes>(float* sums, float* from)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint i = 0; i < Filters; i += TLanes.Count)
            TLanes.Store(sums + i, from is null ? TLanes.Zero : TLanes.Load(from + i));
    }

    /// <summary>
    /// For a row of pixels bit x of: whether pixel x is zero; equals the one to its right; and, for the row above, whether its
    /// pixel x equals pixel x here; its pixel x equals pixel x + 1 here; its pixel x + 1 equals pixel x here.
    /// </summary>
    private readonly struct PixelRow<TLanes>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        public readonly ulong Empty, Right, Down, Falling, Rising;

        public PixelRow(in RepeatedPatches image, int row, int column, int windows)
        {
            nint pixel = image.Input.ColumnStride, above = row == 0 ? 0 : -image.Input.RowStride;
            float* data = image.Input.Data + (row * image.Input.RowStride) + (2 * column * pixel);
            int channels = image.Channels, whole = channels - (channels % TLanes.Count), last = (2 * windows) + 1;
            TLanes kept = whole == channels ? TLanes.Zero : FirstLanes(channels - whole);
            ulong empty = 0, right = 0, down = 0, falling = 0, rising = 0;
            for (int x = 0; x <= last; x++, data += pixel)
            {
                // The last pixel has no right neighbour that any window sees.
                nint next = x < last ? pixel : 0;
                TLanes bits = TLanes.Zero, toRight = bits, toAbove = bits, toFalling = bits, toRising = bits;
                for (nint channel = 0; channel < whole; channel += TLanes.Count)
                    Compare(data + channel, next, above, ref bits, ref toRight, ref toAbove, ref toFalling, ref toRising);
                if (whole < channels)
                {
                    TLanes lastBits = TLanes.Zero, lastRight = lastBits, lastAbove = lastBits, lastFalling = lastBits, lastRising = lastBits;
                    Compare(data + whole, next, above, ref lastBits, ref lastRight, ref lastAbove, ref lastFalling, ref lastRising);
                    bits = Or(bits, kept, lastBits);
                    toRight = Or(toRight, kept, lastRight);
                    toAbove = Or(toAbove, kept, lastAbove);
                    toFalling = Or(toFalling, kept, lastFalling);
                    toRising = Or(toRising, kept, lastRising);
                }

                empty |= Bit(bits, x);
                right |= Bit(toRight, x);
                down |= Bit(toAbove, x);
                falling |= Bit(toFalling, x);
                rising |= Bit(toRising, x);
            }

            (Empty, Right, Down, Falling, Rising) = (empty, right, down, falling, rising);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Compare(
            float* here, nint next, nint above, ref TLanes bits, ref TLanes toRight, ref TLanes toAbove, ref TLanes toFalling, ref TLanes toRising)
        {
            TLanes value = TLanes.Load(here), beside = TLanes.Load(here + next), top = TLanes.Load(here + above), topBeside = TLanes.Load(here + above + next);

            // Zero of either sign.
            bits = TLanes.OrDifference(bits, TLanes.SelectEqual(value, TLanes.Zero, TLanes.Zero, value), TLanes.Zero);
            toRight = TLanes.OrDifference(toRight, value, beside);
            toAbove = TLanes.OrDifference(toAbove, top, value);
            toFalling = TLanes.OrDifference(toFalling, top, beside);
            toRising = TLanes.OrDifference(toRising, topBeside, value);
        }

        /// <summary>What lies in the padding means nothing: only the lanes that are kept count.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TLanes Or(TLanes any, TLanes kept, TLanes bits) =>
            TLanes.OrDifference(any, TLanes.SelectGreater(kept, TLanes.Zero, bits, TLanes.Zero), TLanes.Zero);

        // Without a branch, which nobody could predict at the edge of what is drawn.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static ulong Bit(TLanes difference, int place) => (ulong)Unsafe.BitCast<bool, byte>(TLanes.HasNoBits(difference)) << place;

        /// <summary>1 in the first lanes and 0 in the others.</summary>
        private static TLanes FirstLanes(int count)
        {
            float* lanes = stackalloc float[TLanes.Count];
            for (int i = 0; i < TLanes.Count; i++)
                lanes[i] = i < count ? 1 : 0;
            return TLanes.Load(lanes);
        }
    }

    /// <summary>For a row of windows bit x of: which patches are equal or empty, named by the positions of the window that begins at column x.</summary>
    private readonly struct WindowRow<TLanes>
        where TLanes : unmanaged, ILanes<TLanes>
    {
        private const ulong Even = 0x5555_5555_5555_5555;

        public readonly ulong Right, BottomRight, Down, Falling, Rising, TopEmpty, BottomEmpty;

        public WindowRow(in PixelRow<TLanes> first, in PixelRow<TLanes> second, in PixelRow<TLanes> third, in PixelRow<TLanes> fourth)
        {
            Right = Three(first.Right & second.Right & third.Right);
            BottomRight = Three(second.Right & third.Right & fourth.Right);
            Down = Three(second.Down & third.Down & fourth.Down);
            Falling = Three(second.Falling & third.Falling & fourth.Falling);
            Rising = Three(second.Rising & third.Rising & fourth.Rising);
            TopEmpty = Three(first.Empty & second.Empty & third.Empty);
            BottomEmpty = Three(second.Empty & third.Empty & fourth.Empty);
        }

        /// <summary>The windows of which any position is concerned.</summary>
        public ulong Any
        {
            get
            {
                ulong either = Down | TopEmpty | BottomEmpty;
                return (Right | BottomRight | Falling | Rising | either | (either >> 1)) & Even;
            }
        }

        private static ulong Three(ulong bits) => bits & (bits >> 1) & (bits >> 2);
    }
}
