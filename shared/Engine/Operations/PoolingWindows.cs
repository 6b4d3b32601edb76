using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>How a window moves over one axis: where output i begins in the input, border included.</summary>
internal readonly record struct WindowAxis(int Input, int Output, int Size, int Stride, int PadBefore)
{
    /// <summary>As Keras defines it: valid keeps windows inside; same gives ceil(input / stride) and puts an odd zero behind.</summary>
    public static WindowAxis Create(int input, int size, int stride, Padding padding)
    {
        if (padding == Padding.Valid)
            return new WindowAxis(input, ((input - size) / stride) + 1, size, stride, 0);
        int output = (input + stride - 1) / stride;
        int total = Math.Max(((output - 1) * stride) + size - input, 0);
        return new WindowAxis(input, output, size, stride, total / 2);
    }

    /// <summary>How many zeros the last window needs behind the input.</summary>
    public int PadAfter => Math.Max(((Output - 1) * Stride) + Size - Input - PadBefore, 0);

    /// <summary>The inputs [first, end) of output i that lie inside the image.</summary>
    public (int First, int End) Inside(int i)
    {
        int start = (i * Stride) - PadBefore;
        return (Math.Max(start, 0), Math.Min(start + Size, Input));
    }
}

/// <summary>For each output pixel of a pooling layer the input pixels under its window, in scan order.</summary>
internal sealed class PoolingWindows
{
    public PoolingWindows(Plane input, Size2D size, Size2D strides, Padding padding)
    {
        WindowAxis rows = WindowAxis.Create(input.Shape.Height, size.Height, strides.Height, padding);
        WindowAxis columns = WindowAxis.Create(input.Shape.Width, size.Width, strides.Width, padding);
        List<int> taps = [];
        List<int> starts = [0];
        for (int i = 0; i < rows.Output; i++)
        {
            for (int j = 0; j < columns.Output; j++)
            {
                (int firstRow, int endRow) = rows.Inside(i);
                (int firstColumn, int endColumn) = columns.Inside(j);
                for (int y = firstRow; y < endRow; y++)
                {
                    for (int x = firstColumn; x < endColumn; x++)
                        taps.Add((y * input.RowStride) + (x * input.ChannelStride));
                }

                starts.Add(taps.Count);
            }
        }

        Taps = [.. taps];
        Starts = [.. starts];
    }

    /// <summary>Places in one sample's input, in floats.</summary>
    public int[] Taps { get; }

    /// <summary>Output pixel p has the taps [Starts[p], Starts[p + 1]): at least one.</summary>
    public int[] Starts { get; }
}
