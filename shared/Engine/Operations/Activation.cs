using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>y = f(x), value by value; softmax over the channels of each pixel. The derivative is taken from y.</summary>
internal sealed unsafe class Activation<TLanes>(ActivationKind kind, Edge input, Edge output) : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    public override string Kernels => $"{kind.ToString().ToLowerInvariant()}, {TLanes.Count} lanes";

    public override void Forward(in Pass pass)
    {
        float* x = pass.At(input.Value), y = pass.At(output.Value);
        int length = pass.Samples * input.Value.SampleStride;
        if (kind == ActivationKind.Softmax)
        {
            for (int pixel = 0; pixel < length; pixel += input.Value.ChannelStride)
                Softmax.Probabilities<TLanes>(x + pixel, y + pixel, input.Value.Shape.Channels);
            return;
        }

        for (nint i = 0; i < length; i += TLanes.Count)
        {
            TLanes value = TLanes.Load(x + i);
            TLanes.Store(y + i, kind switch
            {
                ActivationKind.Relu => TLanes.Relu(value),
                ActivationKind.Tanh => Transcendental.Tanh(value),
                ActivationKind.Sigmoid => Transcendental.Sigmoid(value),
                _ => value,
            });
        }
    }

    public override void BackwardData(in Pass pass)
    {
        if (input.Gradient is null)
            return;
        float* y = pass.At(output.Value), dy = pass.At(output.Gradient!), dx = pass.At(input.Gradient);
        int length = pass.Samples * input.Value.SampleStride;
        if (kind == ActivationKind.Softmax)
        {
            for (int pixel = 0; pixel < length; pixel += input.Value.ChannelStride)
                Softmax.Backward(y + pixel, dy + pixel, dx + pixel, input.Value.Shape.Channels);
            return;
        }

        TLanes one = TLanes.Splat(1);
        for (nint i = 0; i < length; i += TLanes.Count)
        {
            TLanes value = TLanes.Load(y + i), gradient = TLanes.Load(dy + i);
            TLanes.Store(dx + i, kind switch
            {
                ActivationKind.Relu => TLanes.SelectGreater(value, TLanes.Zero, gradient, TLanes.Zero),
                ActivationKind.Tanh => TLanes.Multiply(gradient, TLanes.Subtract(one, TLanes.Multiply(value, value))),
                ActivationKind.Sigmoid => TLanes.Multiply(gradient, TLanes.Multiply(value, TLanes.Subtract(one, value))),
                _ => gradient,
            });
        }
    }
}
