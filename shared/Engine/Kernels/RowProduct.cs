using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// A stretch of the sum that makes one output pixel: <paramref name="Length"/> consecutive inputs at
/// <paramref name="Input"/> floats from the pixel's own place, times as many rows of weights from
/// <paramref name="Weights"/> on.
/// </summary>
internal readonly record struct Segment(int Input, int Weights, int Length);

/// <summary>
/// out[p, o] = bias[o] + sum over segments s and k of x[rows[p] + s.Input + k] w[s.Weights + k, o].
///
/// With one segment and evenly spaced rows this is a matrix product (for which <see cref="Gemm"/> is better); with a segment for
/// each row of a kernel's window it is a convolution that copies nothing (Dukhan, "The indirect convolution algorithm", 2019).
///
/// A tile is 6 output pixels x one row of lanes: with 16 registers 12 accumulators, 2 weights and a broadcast (row of
/// two vectors), with 32 registers 24, 4 and 1 (row of four). Bound by the multiply-add units once a tile is at least
/// 8 accumulators; narrower outputs by their latency. The last tile of pixels repeats the last pixel, which stores the
/// same values again; columns are padded to whole lines, so there is no tail. Each output is one chain of multiply-adds
/// in the order of the sum, so neither tile nor width shows in the bits.
/// </summary>
internal static unsafe class RowProduct
{
    /// <summary>Pixels in a tile.</summary>
    public const int TileRows = 6;

    /// <param name="input">x.</param>
    /// <param name="rows">For each output pixel the place of its input, in floats.</param>
    /// <param name="count">Number of output pixels, at least 1.</param>
    /// <param name="segments">The sum's stretches, in order.</param>
    /// <param name="weights">w: rows of <paramref name="columns"/> floats, a multiple of 16.</param>
    /// <param name="bias">One a column.</param>
    /// <param name="output">out.</param>
    /// <param name="outputs">For each output pixel its place in out, in floats.</param>
    /// <param name="relu">Whether negative results become zero.</param>
    public static void Run<TLanes>(
        float* input, ReadOnlySpan<int> rows, int count, ReadOnlySpan<Segment> segments, float* weights, int columns,
        float* bias, float* output, ReadOnlySpan<int> outputs, bool relu)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int column = 0;
        fixed (int* row = rows, place = outputs)
        fixed (Segment* segment = segments)
        {
            Sum sum = new(input, row, count, segment, segments.Length, weights, columns, bias, output, place, relu);
            if (TLanes.HasManyRegisters)
            {
                for (; column + Pair<Pair<TLanes>>.Count <= columns; column += Pair<Pair<TLanes>>.Count)
                    Columns<Pair<Pair<TLanes>>>(sum, column);
            }

            for (; column + Pair<TLanes>.Count <= columns; column += Pair<TLanes>.Count)
                Columns<Pair<TLanes>>(sum, column);
            for (; column < columns; column += TLanes.Count)
                Columns<TLanes>(sum, column);
        }
    }

    private static void Columns<TRow>(in Sum sum, int column)
        where TRow : unmanaged, ILanes<TRow>
    {
        for (int p = 0; p < sum.Count; p += TileRows)
            Tile<TRow>(sum, p, column);
    }

    private static void Tile<TRow>(in Sum sum, int p, int column)
        where TRow : unmanaged, ILanes<TRow>
    {
        int last = sum.Count - 1;
        int p1 = Math.Min(p + 1, last), p2 = Math.Min(p + 2, last), p3 = Math.Min(p + 3, last), p4 = Math.Min(p + 4, last), p5 = Math.Min(p + 5, last);
        float* x0 = sum.Input + sum.Rows[p], x1 = sum.Input + sum.Rows[p1], x2 = sum.Input + sum.Rows[p2];
        float* x3 = sum.Input + sum.Rows[p3], x4 = sum.Input + sum.Rows[p4], x5 = sum.Input + sum.Rows[p5];
        TRow a0 = TRow.Load(sum.Bias + column);
        TRow a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0;
        for (nint s = 0; s < sum.SegmentCount; s++)
        {
            Segment segment = sum.Segments[s];
            float* w = sum.Weights + ((nint)segment.Weights * sum.Columns) + column;
            nint end = (nint)segment.Input + segment.Length;
            for (nint k = segment.Input; k < end; k++)
            {
                TRow weight = TRow.Load(w);
                a0 = TRow.MultiplyAdd(TRow.Splat(x0[k]), weight, a0);
                a1 = TRow.MultiplyAdd(TRow.Splat(x1[k]), weight, a1);
                a2 = TRow.MultiplyAdd(TRow.Splat(x2[k]), weight, a2);
                a3 = TRow.MultiplyAdd(TRow.Splat(x3[k]), weight, a3);
                a4 = TRow.MultiplyAdd(TRow.Splat(x4[k]), weight, a4);
                a5 = TRow.MultiplyAdd(TRow.Splat(x5[k]), weight, a5);
                w += sum.Columns;
            }
        }

        float* output = sum.Output + column;
        Finish(output + sum.Outputs[p], a0, sum.Relu);
        Finish(output + sum.Outputs[p1], a1, sum.Relu);
        Finish(output + sum.Outputs[p2], a2, sum.Relu);
        Finish(output + sum.Outputs[p3], a3, sum.Relu);
        Finish(output + sum.Outputs[p4], a4, sum.Relu);
        Finish(output + sum.Outputs[p5], a5, sum.Relu);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<TRow>(float* output, TRow value, bool relu)
        where TRow : unmanaged, ILanes<TRow> =>
        TRow.Store(output, relu ? TRow.Relu(value) : value);

    private readonly struct Sum(
        float* input, int* rows, int count, Segment* segments, int segmentCount, float* weights, int columns,
        float* bias, float* output, int* outputs, bool relu)
    {
        public readonly float* Input = input, Weights = weights, Bias = bias, Output = output;
        public readonly int* Rows = rows, Outputs = outputs;
        public readonly Segment* Segments = segments;
        public readonly int Count = count, SegmentCount = segmentCount, Columns = columns;
        public readonly bool Relu = relu;
    }
}
