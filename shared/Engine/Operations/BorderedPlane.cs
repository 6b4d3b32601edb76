using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// A plane as seen through windows that reach over its edge: the plane itself where none does, else a copy inside a border
/// of zeros. Nobody writes the border of a copy that is read, so it stays zero from one pass to the next.
/// </summary>
internal sealed unsafe class BorderedPlane
{
    private readonly Plane _inner;
    private readonly int _interior;

    /// <param name="top">Rows of border above.</param>
    /// <param name="left">Columns of border on the left.</param>
    /// <param name="height">Rows that the windows reach, border included.</param>
    /// <param name="width">Columns that the windows reach, border included.</param>
    public BorderedPlane(ArenaPlan arena, Plane inner, int top, int left, int height, int width)
    {
        _inner = inner;
        SampleShape shape = inner.Shape with
        {
            Height = Math.Max(height, top + inner.Shape.Height),
            Width = Math.Max(width, left + inner.Shape.Width),
        };
        if (shape.Height == inner.Shape.Height && shape.Width == inner.Shape.Width)
        {
            Plane = inner;
            return;
        }

        Plane = arena.ReserveBordered(inner, shape);
        _interior = (top * Plane.RowStride) + (left * Plane.ChannelStride);
    }

    /// <summary>Where to read and write.</summary>
    public Plane Plane { get; }

    public void CopyIn(in Pass pass)
    {
        if (Plane != _inner)
            CopyRows(pass, pass.At(_inner), _inner, pass.At(Plane) + _interior, Plane);
    }

    public void CopyOut(in Pass pass)
    {
        if (Plane != _inner)
            CopyRows(pass, pass.At(Plane) + _interior, Plane, pass.At(_inner), _inner);
    }

    public void Clear(in Pass pass) => new Span<float>(pass.At(Plane), pass.Samples * Plane.SampleStride).Clear();

    private void CopyRows(in Pass pass, float* from, Plane source, float* to, Plane target)
    {
        for (nint sample = 0; sample < pass.Samples; sample++)
        {
            for (nint row = 0; row < _inner.Shape.Height; row++)
            {
                float* line = from + (sample * source.SampleStride) + (row * source.RowStride);
                new ReadOnlySpan<float>(line, _inner.RowStride).CopyTo(
                    new Span<float>(to + (sample * target.SampleStride) + (row * target.RowStride), _inner.RowStride));
            }
        }
    }
}
