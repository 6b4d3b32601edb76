using System.Runtime.InteropServices;

namespace Distributed.Engine.Operations;

/// <summary>
/// The largest value under each window, channel by channel; of equal ones the first, which alone receives the gradient.
/// The winner's tap is kept as a number of the same lanes.
/// </summary>
internal sealed unsafe class MaxPooling<TLanes>(Edge input, Edge output, Plane winners, PoolingWindows windows) : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    public override string Kernels => $"max pooling, {TLanes.Count} lanes";

    public override void Forward(in Pass pass)
    {
        int stride = output.Value.ChannelStride;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* x = pass.At(input.Value) + ((nint)sample * input.Value.SampleStride);
            float* y = pass.At(output.Value) + ((nint)sample * output.Value.SampleStride);
            float* winner = pass.At(winners) + ((nint)sample * winners.SampleStride);
            for (int pixel = 0; pixel < output.Value.Pixels; pixel++, y += stride, winner += stride)
            {
                ReadOnlySpan<int> taps = windows.Taps.AsSpan(windows.Starts[pixel]..windows.Starts[pixel + 1]);
                for (int channel = 0; channel < stride; channel += TLanes.Count)
                {
                    TLanes best = TLanes.Load(x + taps[0] + channel), bestTap = TLanes.Zero;
                    for (int tap = 1; tap < taps.Length; tap++)
                    {
                        TLanes value = TLanes.Load(x + taps[tap] + channel);
                        bestTap = TLanes.SelectGreater(value, best, TLanes.Splat(tap), bestTap);
                        best = TLanes.SelectGreater(value, best, value, best);
                    }

                    TLanes.Store(y + channel, best);
                    TLanes.Store(winner + channel, bestTap);
                }
            }
        }
    }

    public override void BackwardData(in Pass pass)
    {
        if (input.Gradient is null)
            return;
        int stride = output.Value.ChannelStride;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* dx = pass.At(input.Gradient) + ((nint)sample * input.Value.SampleStride);
            float* dy = pass.At(output.Gradient!) + ((nint)sample * output.Value.SampleStride);
            float* winner = pass.At(winners) + ((nint)sample * winners.SampleStride);
            NativeMemory.Clear(dx, (nuint)input.Value.SampleStride * sizeof(float));
            for (int pixel = 0; pixel < output.Value.Pixels; pixel++, dy += stride, winner += stride)
            {
                ReadOnlySpan<int> taps = windows.Taps.AsSpan(windows.Starts[pixel]..windows.Starts[pixel + 1]);
                for (int channel = 0; channel < stride; channel += TLanes.Count)
                {
                    TLanes gradient = TLanes.Load(dy + channel), bestTap = TLanes.Load(winner + channel);
                    for (int tap = 0; tap < taps.Length; tap++)
                    {
                        float* place = dx + taps[tap] + channel;
                        TLanes share = TLanes.SelectEqual(bestTap, TLanes.Splat(tap), gradient, TLanes.Zero);
                        TLanes.Store(place, TLanes.Add(TLanes.Load(place), share));
                    }
                }
            }
        }
    }
}
