using System.Runtime.InteropServices;

namespace Distributed.Engine.Operations;

/// <summary>The mean of what lies under each window inside the image, channel by channel.</summary>
internal sealed unsafe class AveragePooling<TLanes>(Edge input, Edge output, PoolingWindows windows) : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    public override string Kernels => $"average pooling, {TLanes.Count} lanes";

    public override void Forward(in Pass pass)
    {
        int stride = output.Value.ChannelStride;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* x = pass.At(input.Value) + ((nint)sample * input.Value.SampleStride);
            float* y = pass.At(output.Value) + ((nint)sample * output.Value.SampleStride);
            for (int pixel = 0; pixel < output.Value.Pixels; pixel++, y += stride)
            {
                ReadOnlySpan<int> taps = windows.Taps.AsSpan(windows.Starts[pixel]..windows.Starts[pixel + 1]);
                for (int channel = 0; channel < stride; channel += TLanes.Count)
                {
                    TLanes sum = TLanes.Zero;
                    foreach (int tap in taps)
                        sum = TLanes.Add(sum, TLanes.Load(x + tap + channel));
                    TLanes.Store(y + channel, TLanes.Divide(sum, TLanes.Splat(taps.Length)));
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
            NativeMemory.Clear(dx, (nuint)input.Value.SampleStride * sizeof(float));
            for (int pixel = 0; pixel < output.Value.Pixels; pixel++, dy += stride)
            {
                ReadOnlySpan<int> taps = windows.Taps.AsSpan(windows.Starts[pixel]..windows.Starts[pixel + 1]);
                for (int channel = 0; channel < stride; channel += TLanes.Count)
                {
                    TLanes share = TLanes.Divide(TLanes.Load(dy + channel), TLanes.Splat(taps.Length));
                    foreach (int tap in taps)
                        TLanes.Store(dx + tap + channel, TLanes.Add(TLanes.Load(dx + tap + channel), share));
                }
            }
        }
    }
}
