using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[s.Weights + k, o] = sum over pixels p of x[rows[p] + s.Input + k] dy[p, o]: the weights' gradient that belongs to
/// <see cref="RowProduct"/>, written unpadded.
///
/// A tile is 6 weight rows x one row of lanes, held in registers over a block of pixels, samples in order; the same register
/// counts and bounds as there. A block is so many pixels that their gradients stay in the first cache over all tiles; the sums go
/// on where they stopped. The last tile of a segment repeats its last row. Each weight is one chain of multiply-adds over
/// the pixels, so neither tile nor block nor width shows in the bits.
/// </summary>
internal static unsafe class OuterSum
{
    /// <summary>Floats of gradient in a block of pixels: 16 KB.</summary>
    private const int BlockFloats = 4096;

    /// <param name="input">x.</param>
    /// <param name="rows">For each pixel the place of its input, in floats.</param>
    /// <param name="count">Number of pixels.</param>
    /// <param name="segments">Which weight rows there are and which inputs they meet.</param>
    /// <param name="gradient">dy: a row of <paramref name="stride"/> floats (a multiple of 16) for each pixel, in order.</param>
    /// <param name="sums">Memory for dw in rows of <paramref name="stride"/> floats.</param>
    /// <param name="weights">Receives dw: rows of <paramref name="columns"/> floats.</param>
    public static void Run<TLanes>(
        float* input, ReadOnlySpan<int> rows, int count, ReadOnlySpan<Segment> segments, float* gradient, int stride, float* sums, float* weights, int columns)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int block = Math.Max(BlockFloats / stride, 1);
        fixed (int* row = rows)
        {
            for (int first = 0; first < count; first += block)
            {
                foreach (Segment segment in segments)
                {
                    Sum sum = new(
                        input + segment.Input, row + first, Math.Min(block, count - first), segment.Length, gradient + ((nint)first * stride), stride,
                        sums + ((nint)segment.Weights * stride), first == 0);
                    int column = 0;
                    if (TLanes.HasManyRegisters)
                    {
                        for (; column + Quad<TLanes>.Count <= stride; column += Quad<TLanes>.Count)
                            Columns<Quad<TLanes>>(sum, column);
                    }

                    for (; column + Pair<TLanes>.Count <= stride; column += Pair<TLanes>.Count)
                        Columns<Pair<TLanes>>(sum, column);
                    for (; column < stride; column += TLanes.Count)
                        Columns<TLanes>(sum, column);
                }
            }
        }

        foreach (Segment segment in segments)
        {
            for (nint k = segment.Weights; k < segment.Weights + segment.Length; k++)
                new ReadOnlySpan<float>(sums + (k * stride), columns).CopyTo(new Span<float>(weights + (k * columns), columns));
        }
    }

    /// <summary>db[o] = sum over pixels p of dy[p, o], written unpadded.</summary>
    public static void Bias<TLanes>(float* gradient, int stride, int count, float* bias, int columns)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int column = 0; column < columns; column += TLanes.Count)
        {
            TLanes sum = TLanes.Zero;
            for (nint p = 0; p < count; p++)
                sum = TLanes.Add(sum, TLanes.Load(gradient + (p * stride) + column));
            StoreFirst(bias + column, sum, columns - column);
        }
    }

    /// <summary>Stores the first <paramref name="count"/> lanes only, where the row is longer than what is left.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFirst<TRow>(float* destination, TRow row, int count)
        where TRow : unmanaged, ILanes<TRow>
    {
        if (count >= TRow.Count)
            TRow.Store(destination, row);
        else
            StorePart(destination, row, count);
    }

    // Apart, because a method with a stack allocation is not inlined.
    private static void StorePart<TRow>(float* destination, TRow row, int count)
        where TRow : unmanaged, ILanes<TRow>
    {
        float* lanes = stackalloc float[TRow.Count];
        TRow.Store(lanes, row);
        for (int i = 0; i < count; i++)
            destination[i] = lanes[i];
    }

    private static void Columns<TRow>(in Sum sum, int column)
        where TRow : unmanaged, ILanes<TRow>
    {
        for (int k = 0; k < sum.Length; k += RowProduct.TileRows)
            Tile<TRow>(sum, k, column);
    }

    private static void Tile<TRow>(in Sum sum, int k, int column)
        where TRow : unmanaged, ILanes<TRow>
    {
        nint last = sum.Length - 1;
        nint k0 = k, k1 = Math.Min(k0 + 1, last), k2 = Math.Min(k0 + 2, last), k3 = Math.Min(k0 + 3, last), k4 = Math.Min(k0 + 4, last), k5 = Math.Min(k0 + 5, last);
        nint stride = sum.Stride;
        float* dw = sum.Sums + column;
        TRow a0 = TRow.Zero, a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0;
        if (!sum.IsFirst)
        {
            (a0, a1, a2) = (TRow.Load(dw + (k0 * stride)), TRow.Load(dw + (k1 * stride)), TRow.Load(dw + (k2 * stride)));
            (a3, a4, a5) = (TRow.Load(dw + (k3 * stride)), TRow.Load(dw + (k4 * stride)), TRow.Load(dw + (k5 * stride)));
        }

        float* dy = sum.Gradient + column;
        for (nint p = 0; p < sum.Count; p++)
        {
            float* x = sum.Input + sum.Rows[p];
            TRow gradient = TRow.Load(dy);
            a0 = TRow.MultiplyAdd(TRow.Splat(x[k0]), gradient, a0);
            a1 = TRow.MultiplyAdd(TRow.Splat(x[k1]), gradient, a1);
            a2 = TRow.MultiplyAdd(TRow.Splat(x[k2]), gradient, a2);
            a3 = TRow.MultiplyAdd(TRow.Splat(x[k3]), gradient, a3);
            a4 = TRow.MultiplyAdd(TRow.Splat(x[k4]), gradient, a4);
            a5 = TRow.MultiplyAdd(TRow.Splat(x[k5]), gradient, a5);
            dy += stride;
        }

        TRow.Store(dw + (k0 * stride), a0);
        TRow.Store(dw + (k1 * stride), a1);
        TRow.Store(dw + (k2 * stride), a2);
        TRow.Store(dw + (k3 * stride), a3);
        TRow.Store(dw + (k4 * stride), a4);
        TRow.Store(dw + (k5 * stride), a5);
    }

    private readonly struct Sum(float* input, int* rows, int count, int length, float* gradient, int stride, float* sums, bool isFirst)
    {
        public readonly float* Input = input, Gradient = gradient, Sums = sums;
        public readonly int* Rows = rows;
        public readonly int Count = count, Length = length, Stride = stride;
        public readonly bool IsFirst = isFirst;
    }
}
