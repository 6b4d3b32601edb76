using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// Where a convolution reads and writes, worked out once: tables of places for <see cref="RowProduct"/> and
/// <see cref="OuterSum"/>. A dense layer is the convolution of a 1 x 1 image with a 1 x 1 kernel.
/// </summary>
internal sealed class ConvolutionGeometry
{
    private readonly WindowAxis _rows, _columns;
    private readonly int _channels, _filters;

    public ConvolutionGeometry(Edge input, Edge output, Size2D kernel, Size2D strides, Padding padding, ArenaPlan arena)
    {
        SampleShape shape = input.Value.Shape;
        _rows = WindowAxis.Create(shape.Height, kernel.Height, strides.Height, padding);
        _columns = WindowAxis.Create(shape.Width, kernel.Width, strides.Width, padding);
        _channels = shape.Channels;
        _filters = output.Value.Shape.Channels;
        bool isPadded = _rows.PadBefore + _rows.PadAfter + _columns.PadBefore + _columns.PadAfter > 0;
        Source = isPadded ? ReservePadded(arena, input.Value, _rows.PadBefore + _rows.PadAfter, _columns.PadBefore + _columns.PadAfter) : input.Value;
        Rows = RowTable(arena.PassSamples);
        Segments = ForwardSegments();
        Outputs = Enumerable.Range(0, checked(arena.PassSamples * output.Value.Pixels)).Select(pixel => pixel * output.Value.ChannelStride).ToArray();
        if (input.Gradient is not null)
            PlanDataGradient(input.Gradient, output.Gradient!, arena);
    }

    /// <summary>Where the input is read: the input itself, or a copy with a border of zeros.</summary>
    public Plane Source { get; }

    /// <summary>For each output pixel of a pass the place of its window in the source.</summary>
    public int[] Rows { get; }

    /// <summary>The window, as stretches that are contiguous in the source.</summary>
    public Segment[] Segments { get; }

    /// <summary>
    /// Whether all three passes are plain matrix products: one stretch for each pixel, one pixel for each stretch, none skipped.
    /// So it is for Dense and for 1 x 1 kernels at stride 1.
    /// </summary>
    public bool IsMatrixProduct => _rows is { Size: 1, Stride: 1 } && _columns is { Size: 1, Stride: 1 };

    /// <summary>For each output pixel of a pass its place in the output.</summary>
    public int[] Outputs { get; }

    /// <summary>Where the output's gradient is read for the input's: itself, or a copy with a border of zeros. Null if nobody needs it.</summary>
    public Plane? GradientSource { get; private set; }

    /// <summary>The input's gradient, by residue of the pixel's place modulo the strides: each residue meets its own taps.</summary>
    public Phase[] Phases { get; private set; } = [];

    /// <summary>Offset of the first pixel inside the source's border, in floats.</summary>
    public int SourceInterior => (_rows.PadBefore * Source.RowStride) + (_columns.PadBefore * Source.ChannelStride);

    /// <summary>The same for the gradient's source.</summary>
    public int GradientInterior { get; private set; }

    /// <summary>The pixels of one residue: <paramref name="PixelsPerSample"/> rows a sample, samples in order.</summary>
    internal sealed record Phase(int PixelsPerSample, int[] Rows, int[] Outputs, Segment[] Segments);

    private static Plane ReservePadded(ArenaPlan arena, Plane plane, int addedRows, int addedColumns) =>
        arena.ReserveBordered(plane, plane.Shape with { Height = plane.Shape.Height + addedRows, Width = plane.Shape.Width + addedColumns });

    private int[] RowTable(int samples) =>
        [.. from sample in Enumerable.Range(0, samples)
            from i in Enumerable.Range(0, _rows.Output)
            from j in Enumerable.Range(0, _columns.Output)
            select (sample * Source.SampleStride) + (i * _rows.Stride * Source.RowStride) + (j * _columns.Stride * Source.ChannelStride)];

    private Segment[] ForwardSegments()
    {
        // Without padding between pixels a whole row of the window is one stretch.
        int taps = _columns.Size;
        return Source.IsDense
            ? [.. from i in Enumerable.Range(0, _rows.Size)
                  select new Segment(i * Source.RowStride, i * taps * _channels, taps * _channels)]
            : [.. from i in Enumerable.Range(0, _rows.Size)
                  from j in Enumerable.Range(0, taps)
                  select new Segment((i * Source.RowStride) + (j * Source.ChannelStride), ((i * taps) + j) * _channels, _channels)];
    }

    /// <summary>
    /// Input row y receives from output row i through tap k where i s + k = y + pad. With r = (y + pad) mod s and
    /// q = (y + pad) / s that is k = r + j s, i = q - j for j = 0, 1, ...; likewise for columns.
    /// </summary>
    private void PlanDataGradient(Plane inputGradient, Plane outputGradient, ArenaPlan arena)
    {
        (int beforeRows, int afterRows) = Border(_rows);
        (int beforeColumns, int afterColumns) = Border(_columns);
        bool isPadded = beforeRows + afterRows + beforeColumns + afterColumns > 0;
        Plane source = isPadded ? ReservePadded(arena, outputGradient, beforeRows + afterRows, beforeColumns + afterColumns) : outputGradient;
        GradientInterior = (beforeRows * source.RowStride) + (beforeColumns * source.ChannelStride);
        GradientSource = source;

        List<Phase> phases = [];
        for (int residueRow = 0; residueRow < _rows.Stride; residueRow++)
        {
            for (int residueColumn = 0; residueColumn < _columns.Stride; residueColumn++)
            {
                (int Y, int X)[] pixels =
                    [.. from y in Enumerable.Range(0, _rows.Input)
                        where (y + _rows.PadBefore) % _rows.Stride == residueRow
                        from x in Enumerable.Range(0, _columns.Input)
                        where (x + _columns.PadBefore) % _columns.Stride == residueColumn
                        select (y, x)];
                if (pixels.Length == 0)
                    continue;
                phases.Add(new Phase(
                    pixels.Length,
                    [.. from sample in Enumerable.Range(0, arena.PassSamples)
                        from pixel in pixels
                        let q = (pixel.Y + _rows.PadBefore) / _rows.Stride
                        let p = (pixel.X + _columns.PadBefore) / _columns.Stride
                        select (sample * source.SampleStride) + ((q + beforeRows) * source.RowStride) + ((p + beforeColumns) * source.ChannelStride)],
                    [.. from sample in Enumerable.Range(0, arena.PassSamples)
                        from pixel in pixels
                        select (sample * inputGradient.SampleStride) + (pixel.Y * inputGradient.RowStride) + (pixel.X * inputGradient.ChannelStride)],
                    [.. from j in Enumerable.Range(0, Taps(_rows, residueRow))
                        from i in Enumerable.Range(0, Taps(_columns, residueColumn))
                        let tap = ((residueRow + (j * _rows.Stride)) * _columns.Size) + residueColumn + (i * _columns.Stride)
                        select new Segment(-(j * source.RowStride) - (i * source.ChannelStride), tap * _filters, _filters)]));
            }
        }

        Phases = [.. phases];
    }

    private static int Taps(WindowAxis axis, int residue) => residue < axis.Size ? ((axis.Size - 1 - residue) / axis.Stride) + 1 : 0;

    private static (int Before, int After) Border(WindowAxis axis)
    {
        int before = ((axis.Size + axis.Stride - 1) / axis.Stride) - 1;
        int highest = (axis.Input - 1 + axis.PadBefore) / axis.Stride;
        return (before, Math.Max(highest - (axis.Output - 1), 0));
    }
}
