using System.Numerics;
using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Clears the sums of 3x3 patches that are all zeros, where an algorithm leaves rounding noise instead
/// (<see cref="IConvolutionAlgorithm.KeepsZeros"/> is false): ReLU is then given the bias and nothing else.
/// </summary>
internal static unsafe class EmptyPatches
{
    /// <summary>Patches whose pixels fit into one word of bits.</summary>
    private const int WordPatches = 62;

    /// <param name="input">One image, from the first patch's first pixel on.</param>
    /// <param name="channels">Of the input, without padding.</param>
    /// <param name="rows">Of patches.</param>
    /// <param name="columns">Of patches.</param>
    /// <param name="sums">The patches' sums.</param>
    /// <param name="filters">Floats in a row of sums.</param>
    public static void Clear<TLanes>(Square input, int channels, int rows, int columns, Square sums, int filters)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int column = 0; column < columns; column += WordPatches)
        {
            int count = Math.Min(WordPatches, columns - column);
            ulong first = EmptyPixels<TLanes>(input, channels, 0, column, count + 2), second = EmptyPixels<TLanes>(input, channels, 1, column, count + 2);
            for (int row = 0; row < rows; row++)
            {
                ulong third = EmptyPixels<TLanes>(input, channels, row + 2, column, count + 2), empty = first & second & third;
                for (ulong left = empty & (empty >> 1) & (empty >> 2); left != 0; left &= left - 1)
                {
                    nint patch = column + BitOperations.TrailingZeroCount(left);
                    new Span<float>(sums.Data + (row * sums.RowStride) + (patch * sums.ColumnStride), filters).Clear();
                }

                (first, second) = (second, third);
            }
        }
    }

    /// <summary>Bit x is set where pixel x of a row is zeros of either sign.</summary>
    private static ulong EmptyPixels<TLanes>(Square input, int channels, int row, int column, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float* pixel = input.Data + (row * input.RowStride) + (column * input.ColumnStride);
        ulong empty = 0;
        for (int x = 0; x < count; x++, pixel += input.ColumnStride)
            empty |= (ulong)Unsafe.BitCast<bool, byte>(IsEmpty<TLanes>(pixel, channels)) << x;
        return empty;
    }

    private static bool IsEmpty<TLanes>(float* pixel, int channels)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        nint channel = 0;
        for (; channel + TLanes.Count <= channels; channel += TLanes.Count)
        {
            TLanes value = TLanes.Load(pixel + channel);
            if (!TLanes.HasNoBits(TLanes.SelectEqual(value, TLanes.Zero, TLanes.Zero, value)))
                return false;
        }

        for (; channel < channels; channel++)
        {
            if (pixel[channel] != 0)
                return false;
        }

        return true;
    }
}
