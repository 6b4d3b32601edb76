using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Exact sparsity in front of a convolution: the windows whose patch of 4x4 pixels is all zeros, like the paper around a
/// digit. Every product there is a zero (of finite weights and gradients), so forward gives the bias alone and backward
/// nothing to the weights.
///
/// Each pixel is looked at once: two rows of them make a word of bits, and a patch is empty where the words of its four rows
/// have four zeros side by side. Bound by writing the lists.
/// </summary>
internal static unsafe class EmptyWindows
{
    /// <summary>Windows whose pixels fit into one word of bits: 2 columns each, and 2 more.</summary>
    private const int WordWindows = 31;

    /// <summary>Parts windows into those that see anything and those that do not, each in order.</summary>
    /// <param name="input">The pixels from the first window's first one on; every float of a pixel counts, padding included.</param>
    /// <param name="sampleStride">Floats from one sample to the next.</param>
    /// <param name="rows">Of windows in a sample.</param>
    /// <param name="columns">Of windows in a sample.</param>
    /// <param name="occupied">Receives the numbers of windows that see anything; what is behind them has no meaning.</param>
    /// <param name="empty">Receives the others' numbers likewise. Both have room for all.</param>
    /// <returns>How many see anything.</returns>
    public static int Part(Square input, nint sampleStride, int samples, int rows, int columns, int* occupied, int* empty)
    {
        nint front = 0, window = 0;
        ulong* above = stackalloc ulong[(columns + WordWindows - 1) / WordWindows];
        for (nint sample = 0; sample < samples; sample++)
        {
            Square image = input.Moved(sample * sampleStride);
            for (int row = 0; row < rows; row++)
            {
                for (int word = 0; word * WordWindows < columns; word++)
                {
                    int first = word * WordWindows, count = Math.Min(WordWindows, columns - first);
                    if (row == 0)
                        above[word] = OccupiedPixels(image, 0, 2 * first, (2 * count) + 2);
                    ulong below = OccupiedPixels(image, (2 * row) + 2, 2 * first, (2 * count) + 2), patches = above[word] | below;
                    above[word] = below;
                    patches |= patches >> 1;
                    patches |= patches >> 2;
                    for (nint end = window + count; window < end; window++, patches >>= 2)
                    {
                        // Into both lists, one of which goes on: nobody could predict a branch at the edge of what is drawn.
                        occupied[front] = (int)window;
                        empty[window - front] = (int)window;
                        front += (nint)(patches & 1);
                    }
                }
            }
        }

        return (int)front;
    }

    /// <summary>Bit x is set where pixel x of either of two rows is not zero bits alone.</summary>
    private static ulong OccupiedPixels(Square image, nint row, nint column, int count)
    {
        int* pixels = (int*)(image.Data + (row * image.RowStride) + (column * image.ColumnStride)), below = pixels + image.RowStride;
        ulong occupied = 0;
        int x = 0;
        for (; image.ColumnStride == 1 && x + Vector128<int>.Count <= count; x += Vector128<int>.Count)
        {
            Vector128<int> isEmpty = Vector128.Equals(Vector128.Load(pixels + x) | Vector128.Load(below + x), Vector128<int>.Zero);
            occupied |= (ulong)(~isEmpty).ExtractMostSignificantBits() << x;
        }

        for (; x < count; x++)
        {
            int any = 0;
            for (nint i = x * image.ColumnStride; i < (x + 1) * image.ColumnStride; i++)
                any |= pixels[i] | below[i];
            occupied |= (any != 0 ? 1UL : 0) << x;
        }

        return occupied;
    }
}
