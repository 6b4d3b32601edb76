using Distributed.Data;

namespace Distributed.Engine.Operations;

/// <summary>
/// In training y = x m, with m 0 for a fraction of the values and 1 / (1 - rate) for the rest; otherwise y = x. The mask
/// is drawn for (seed, epoch, sample, layer), values in H, W, C order, so it is the same wherever the sample is computed.
/// </summary>
internal sealed unsafe class Dropout<TLanes>(float rate, int layer, Edge input, Edge output, Plane mask) : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly float _scale = 1 / (1 - rate);

    public override string Kernels => $"mask, {TLanes.Count} lanes";

    public override void Forward(in Pass pass)
    {
        float* x = pass.At(input.Value), y = pass.At(output.Value), m = pass.At(mask);
        if (pass.IsTraining)
            DrawMasks(pass, m);
        for (nint i = 0; i < pass.Samples * mask.SampleStride; i += TLanes.Count)
            TLanes.Store(y + i, pass.IsTraining ? TLanes.Multiply(TLanes.Load(x + i), TLanes.Load(m + i)) : TLanes.Load(x + i));
    }

    public override void BackwardData(in Pass pass)
    {
        if (input.Gradient is null)
            return;
        float* dx = pass.At(input.Gradient), dy = pass.At(output.Gradient!), m = pass.At(mask);
        for (nint i = 0; i < pass.Samples * mask.SampleStride; i += TLanes.Count)
            TLanes.Store(dx + i, TLanes.Multiply(TLanes.Load(dy + i), TLanes.Load(m + i)));
    }

    private void DrawMasks(in Pass pass, float* m)
    {
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            Philox random = new(pass.Seed, RandomPurpose.Dropout, (uint)pass.Epoch, (uint)pass.SampleNumbers[sample], (uint)layer);
            for (int pixel = 0; pixel < mask.Pixels; pixel++)
            {
                float* place = m + ((nint)sample * mask.SampleStride) + (pixel * mask.ChannelStride);
                for (int channel = 0; channel < mask.Shape.Channels; channel++)
                    place[channel] = random.NextSingle() >= rate ? _scale : 0;
            }
        }
    }
}
