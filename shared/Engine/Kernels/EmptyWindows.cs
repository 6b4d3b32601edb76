using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// Exact sparsity in front of a convolution: the windows whose patch of 4x4 pixels is all zeros, like the paper around a
/// digit. Every product there is a zero (of finite weights and gradients), so forward gives the bias alone and backward
/// nothing to the weights.
/// </summary>
internal static unsafe class EmptyWindows
{
    /// <summary>Parts windows into those that see anything, in order, from the front, and the empty ones from the back.</summary>
    /// <param name="places">For each window the place of its patch in x.</param>
    /// <param name="rowStride">Floats from one row of x to the next.</param>
    /// <param name="channelStride">Floats from one pixel to the next.</param>
    /// <param name="order">Receives the windows' numbers.</param>
    /// <returns>How many see anything.</returns>
    public static int Part(float* input, ReadOnlySpan<int> places, nint rowStride, nint channelStride, int* order)
    {
        int front = 0, back = places.Length;
        for (int window = 0; window < places.Length; window++)
        {
            // Without a branch, which nobody could predict at the edge of what is drawn.
            int isEmpty = IsEmpty(input + places[window], rowStride, 4 * channelStride) ? 1 : 0;
            back -= isEmpty;
            order[isEmpty != 0 ? back : front] = window;
            front += 1 - isEmpty;
        }

        return front;
    }

    /// <summary>Whether four rows of so many floats, a multiple of 4, are all zero bits.</summary>
    private static bool IsEmpty(float* patch, nint rowStride, nint length)
    {
        Vector128<int> any = Vector128<int>.Zero;
        for (float* end = patch + length; patch < end; patch += Vector128<float>.Count)
        {
            any |= Vector128.Load((int*)patch) | Vector128.Load((int*)(patch + rowStride))
                | Vector128.Load((int*)(patch + (2 * rowStride))) | Vector128.Load((int*)(patch + (3 * rowStride)));
        }

        return any == Vector128<int>.Zero;
    }
}
