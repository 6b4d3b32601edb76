using Distributed.Data;
using Distributed.Models;

namespace Distributed.Tests.Engine;

/// <summary>
/// The network in double precision and plain loops, written from Keras' definitions: what the engine is held against.
/// Activations are kept a sample at a time as (height, width, channels).
/// </summary>
internal sealed class ReferenceNetwork(ResolvedModel model)
{
    public ulong Seed { get; init; }

    public int Epoch { get; init; }

    /// <summary>Loss summed over the samples, and its gradient by every parameter.</summary>
    public (double Loss, double[] Gradient) Train(double[] parameters, double[][] images, int[] labels, int[] sampleNumbers)
    {
        double[] gradient = new double[parameters.Length];
        double loss = 0;
        for (int sample = 0; sample < images.Length; sample++)
        {
            List<double[]> values = Forward(parameters, images[sample], sampleNumbers[sample]);
            double[] probabilities = values[^1];
            loss -= Math.Log(probabilities[labels[sample]]);

            // The last softmax and the cross-entropy together: p - 1 at the label.
            double[] flow = [.. probabilities];
            flow[labels[sample]] -= 1;
            for (int i = model.Layers.Count - 1; i >= 0; i--)
            {
                ResolvedLayer layer = model.Layers[i];
                bool isLast = i == model.Layers.Count - 1;
                if (!isLast || ActivationOf(layer) != ActivationKind.Softmax)
                    flow = ActivationBackward(ActivationOf(layer), values[i + 1], flow, layer.Output);
                flow = Backward(layer, i, parameters, values[i], flow, gradient, sampleNumbers[sample]);
            }
        }

        return (loss, gradient);
    }

    /// <summary>Loss alone, for finite differences.</summary>
    public double Loss(double[] parameters, double[][] images, int[] labels, int[] sampleNumbers)
    {
        double loss = 0;
        for (int sample = 0; sample < images.Length; sample++)
            loss -= Math.Log(Forward(parameters, images[sample], sampleNumbers[sample])[^1][labels[sample]]);
        return loss;
    }

    private List<double[]> Forward(double[] parameters, double[] image, int sampleNumber)
    {
        List<double[]> values = [image];
        for (int i = 0; i < model.Layers.Count; i++)
        {
            ResolvedLayer layer = model.Layers[i];
            double[] x = values[^1];
            double[] y = layer.Definition switch
            {
                Conv2D conv => ConvForward(layer, conv, parameters, x),
                Dense => DenseForward(layer, parameters, x),
                MaxPooling2D pool => PoolForward(layer, pool.PoolSize, pool.Strides, pool.Padding, x, taps => taps.Max(tap => x[tap])),
                AveragePooling2D pool => PoolForward(layer, pool.PoolSize, pool.Strides, pool.Padding, x, taps => taps.Average(tap => x[tap])),
                Dropout dropout => [.. x.Zip(Mask(layer, i, dropout, sampleNumber), static (value, mask) => value * mask)],
                _ => x,
            };
            values.Add(ActivationForward(ActivationOf(layer), y, layer.Output));
        }

        return values;
    }

    private double[] Backward(ResolvedLayer layer, int index, double[] parameters, double[] x, double[] dy, double[] gradient, int sampleNumber) =>
        layer.Definition switch
        {
            Conv2D conv => ConvBackward(layer, conv, parameters, x, dy, gradient),
            Dense => DenseBackward(layer, parameters, x, dy, gradient),
            MaxPooling2D pool => PoolBackward(layer, pool.PoolSize, pool.Strides, pool.Padding, dy, taps =>
            {
                // The first of equal values wins alone.
                int winner = taps.Aggregate((best, tap) => x[tap] > x[best] ? tap : best);
                return taps.Select(tap => tap == winner ? 1.0 : 0.0);
            }),
            AveragePooling2D pool => PoolBackward(layer, pool.PoolSize, pool.Strides, pool.Padding, dy, taps => taps.Select(_ => 1.0 / taps.Count)),
            Dropout dropout => [.. dy.Zip(Mask(layer, index, dropout, sampleNumber), static (value, mask) => value * mask)],
            _ => dy,
        };

    private static ActivationKind ActivationOf(ResolvedLayer layer) => layer.Definition switch
    {
        Conv2D conv => conv.Activation,
        Dense dense => dense.Activation,
        ActivationLayer activation => activation.Activation,
        _ => ActivationKind.Linear,
    };

    private static double[] ActivationForward(ActivationKind kind, double[] x, SampleShape shape)
    {
        if (kind == ActivationKind.Softmax)
        {
            return [.. x.Chunk(shape.Channels).SelectMany(static row =>
            {
                double max = row.Max();
                double[] e = [.. row.Select(value => Math.Exp(value - max))];
                return e.Select(value => value / e.Sum());
            })];
        }

        return [.. x.Select(value => kind switch
        {
            ActivationKind.Relu => Math.Max(value, 0),
            ActivationKind.Tanh => Math.Tanh(value),
            ActivationKind.Sigmoid => 1 / (1 + Math.Exp(-value)),
            _ => value,
        })];
    }

    private static double[] ActivationBackward(ActivationKind kind, double[] y, double[] dy, SampleShape shape)
    {
        if (kind == ActivationKind.Softmax)
        {
            return [.. y.Chunk(shape.Channels).Zip(dy.Chunk(shape.Channels)).SelectMany(static row =>
            {
                double sum = row.First.Zip(row.Second, static (a, b) => a * b).Sum();
                return row.First.Zip(row.Second, (a, b) => a * (b - sum));
            })];
        }

        return [.. y.Zip(dy, (value, slope) => kind switch
        {
            ActivationKind.Relu => value > 0 ? slope : 0,
            ActivationKind.Tanh => slope * (1 - (value * value)),
            ActivationKind.Sigmoid => slope * value * (1 - value),
            _ => slope,
        })];
    }

    private static double[] DenseForward(ResolvedLayer layer, double[] parameters, double[] x)
    {
        double[] y = new double[layer.Output.Channels];
        for (int o = 0; o < y.Length; o++)
        {
            y[o] = parameters[layer.Parameters[1].Offset + o];
            for (int i = 0; i < x.Length; i++)
                y[o] += x[i] * parameters[layer.Parameters[0].Offset + (i * y.Length) + o];
        }

        return y;
    }

    private static double[] DenseBackward(ResolvedLayer layer, double[] parameters, double[] x, double[] dy, double[] gradient)
    {
        double[] dx = new double[x.Length];
        for (int o = 0; o < dy.Length; o++)
        {
            gradient[layer.Parameters[1].Offset + o] += dy[o];
            for (int i = 0; i < x.Length; i++)
            {
                int weight = layer.Parameters[0].Offset + (i * dy.Length) + o;
                gradient[weight] += x[i] * dy[o];
                dx[i] += dy[o] * parameters[weight];
            }
        }

        return dx;
    }

    private static double[] ConvForward(ResolvedLayer layer, Conv2D conv, double[] parameters, double[] x)
    {
        double[] y = new double[layer.Output.Length];
        for (int i = 0; i < y.Length; i++)
            y[i] = parameters[layer.Parameters[1].Offset + (i % conv.Filters)];
        foreach ((int input, int output, int tap) in Taps(layer, conv.KernelSize, conv.Strides, conv.Padding))
        {
            for (int c = 0; c < layer.Input.Channels; c++)
            {
                for (int f = 0; f < conv.Filters; f++)
                    y[(output * conv.Filters) + f] += x[(input * layer.Input.Channels) + c] * parameters[Weight(layer, conv, tap, c, f)];
            }
        }

        return y;
    }

    private static double[] ConvBackward(ResolvedLayer layer, Conv2D conv, double[] parameters, double[] x, double[] dy, double[] gradient)
    {
        double[] dx = new double[x.Length];
        for (int i = 0; i < dy.Length; i++)
            gradient[layer.Parameters[1].Offset + (i % conv.Filters)] += dy[i];
        foreach ((int input, int output, int tap) in Taps(layer, conv.KernelSize, conv.Strides, conv.Padding))
        {
            for (int c = 0; c < layer.Input.Channels; c++)
            {
                for (int f = 0; f < conv.Filters; f++)
                {
                    gradient[Weight(layer, conv, tap, c, f)] += x[(input * layer.Input.Channels) + c] * dy[(output * conv.Filters) + f];
                    dx[(input * layer.Input.Channels) + c] += dy[(output * conv.Filters) + f] * parameters[Weight(layer, conv, tap, c, f)];
                }
            }
        }

        return dx;
    }

    private static int Weight(ResolvedLayer layer, Conv2D conv, int tap, int channel, int filter) =>
        layer.Parameters[0].Offset + (((tap * layer.Input.Channels) + channel) * conv.Filters) + filter;

    private static double[] PoolForward(ResolvedLayer layer, Size2D size, Size2D strides, Padding padding, double[] x, Func<List<int>, double> take)
    {
        double[] y = new double[layer.Output.Length];
        foreach ((int place, List<int> taps) in Windows(layer, size, strides, padding))
            y[place] = take(taps);
        return y;
    }

    private static double[] PoolBackward(
        ResolvedLayer layer, Size2D size, Size2D strides, Padding padding, double[] dy, Func<List<int>, IEnumerable<double>> shares)
    {
        double[] dx = new double[layer.Input.Length];
        foreach ((int place, List<int> taps) in Windows(layer, size, strides, padding))
        {
            foreach ((int tap, double share) in taps.Zip(shares(taps)))
                dx[tap] += dy[place] * share;
        }

        return dx;
    }

    private static IEnumerable<(int Place, List<int> Taps)> Windows(ResolvedLayer layer, Size2D size, Size2D strides, Padding padding)
    {
        int channels = layer.Input.Channels;
        return Taps(layer, size, strides, padding)
            .GroupBy(static tap => tap.Output)
            .SelectMany(window => Enumerable.Range(0, channels).Select(c =>
                ((window.Key * channels) + c, window.Select(tap => (tap.Input * channels) + c).ToList())));
    }

    /// <summary>Every (input pixel, output pixel, tap) that meet, taps of a window in scan order.</summary>
    private static IEnumerable<(int Input, int Output, int Tap)> Taps(ResolvedLayer layer, Size2D size, Size2D strides, Padding padding)
    {
        (int top, int left) = padding == Padding.Valid
            ? (0, 0)
            : (Before(layer.Input.Height, layer.Output.Height, size.Height, strides.Height), Before(layer.Input.Width, layer.Output.Width, size.Width, strides.Width));
        for (int i = 0; i < layer.Output.Height; i++)
        {
            for (int j = 0; j < layer.Output.Width; j++)
            {
                for (int k = 0; k < size.Height * size.Width; k++)
                {
                    int y = (i * strides.Height) - top + (k / size.Width), x = (j * strides.Width) - left + (k % size.Width);
                    if (y >= 0 && y < layer.Input.Height && x >= 0 && x < layer.Input.Width)
                        yield return ((y * layer.Input.Width) + x, (i * layer.Output.Width) + j, k);
                }
            }
        }

        static int Before(int input, int output, int size, int stride) => Math.Max(((output - 1) * stride) + size - input, 0) / 2;
    }

    private double[] Mask(ResolvedLayer layer, int index, Dropout dropout, int sampleNumber)
    {
        Philox random = new(Seed, RandomPurpose.Dropout, (uint)Epoch, (uint)sampleNumber, (uint)index);
        double[] mask = new double[layer.Output.Length];
        for (int i = 0; i < mask.Length; i++)
            mask[i] = random.NextSingle() >= dropout.Rate ? 1 / (1 - (double)dropout.Rate) : 0;
        return mask;
    }
}
