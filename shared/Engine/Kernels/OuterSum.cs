using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// dw[s.Weights + k, o] = sum over pixels p of x[rows[p] + s.Input + k] dy[p, o]: the weights' gradient that belongs to
/// <see cref="RowProduct"/>, written unpadded.
///
/// A tile is 6 weight rows x one row of lanes, held in registers over all pixels, samples in order; the same register
/// counts and bounds as there. The last tile of a segment repeats its last row; the last columns are stored lane by
/// lane. Each weight is one chain of multiply-adds over the pixels, so neither tile nor width shows in the bits.
/// </summary>
internal static unsafe class OuterSum
{
    /// <param name="input">x.</param>
    /// <param name="rows">For each pixel the place of its input, in floats.</param>
    /// <param name="count">Number of pixels.</param>
    /// <param name="segments">Which weight rows there are and which inputs they meet.</param>
    /// <param name="gradient">dy: a row of <paramref name="stride"/> floats (a multiple of 16) for each pixel, in order.</param>
    /// <param name="weights">Receives dw: rows of <paramref name="columns"/> floats.</param>
    public static void Run<TLanes>(
        float* input, ReadOnlySpan<int> rows, int count, ReadOnlySpan<Segment> segments, float* gradient, int stride, float* weights, int columns)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        fixed (int* row = rows)
        {
            foreach (Segment segment in segments)
            {
                Sum sum = new(input + segment.Input, row, count, segment.Length, gradient, stride, weights + ((nint)segment.Weights * columns), columns);
                int column = 0;
                if (TLanes.HasManyRegisters)
                {
                    for (; column + Pair<Pair<TLanes>>.Count <= stride; column += Pair<Pair<TLanes>>.Count)
                        Columns<Pair<Pair<TLanes>>>(sum, column);
                }

                for (; column + Pair<TLanes>.Count <= stride; column += Pair<TLanes>.Count)
                    Columns<Pair<TLanes>>(sum, column);
                for (; column < stride; column += TLanes.Count)
                    Columns<TLanes>(sum, column);
            }
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
        if (column >= sum.Columns)
            return;
        for (int k = 0; k < sum.Length; k += RowProduct.TileRows)
            Tile<TRow>(sum, k, column);
    }

    private static void Tile<TRow>(in Sum sum, int k, int column)
        where TRow : unmanaged, ILanes<TRow>
    {
        nint last = sum.Length - 1;
        nint k0 = k, k1 = Math.Min(k0 + 1, last), k2 = Math.Min(k0 + 2, last), k3 = Math.Min(k0 + 3, last), k4 = Math.Min(k0 + 4, last), k5 = Math.Min(k0 + 5, last);
        TRow a0 = TRow.Zero, a1 = TRow.Zero, a2 = TRow.Zero, a3 = TRow.Zero, a4 = TRow.Zero, a5 = TRow.Zero;
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
            dy += sum.Stride;
        }

        int left = sum.Columns - column;
        float* dw = sum.Weights + column;
        StoreFirst(dw + (k0 * sum.Columns), a0, left);
        StoreFirst(dw + (k1 * sum.Columns), a1, left);
        StoreFirst(dw + (k2 * sum.Columns), a2, left);
        StoreFirst(dw + (k3 * sum.Columns), a3, left);
        StoreFirst(dw + (k4 * sum.Columns), a4, left);
        StoreFirst(dw + (k5 * sum.Columns), a5, left);
    }

    private readonly struct Sum(float* input, int* rows, int count, int length, float* gradient, int stride, float* weights, int columns)
    {
        public readonly float* Input = input, Gradient = gradient, Weights = weights;
        public readonly int* Rows = rows;
        public readonly int Count = count, Length = length, Stride = stride, Columns = columns;
    }
}
