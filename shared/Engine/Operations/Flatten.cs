namespace Distributed.Engine.Operations;

/// <summary>
/// Takes the padding out between pixels, so that a sample is one run of H W C values. Where there is none, the compiler
/// looks at the same memory in the new shape and needs no operation.
/// </summary>
internal sealed unsafe class Flatten(Edge input, Edge output) : Operation
{
    public override string Kernels => "copy";

    public override void Forward(in Pass pass)
    {
        Plane from = input.Value, to = output.Value;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* x = pass.At(from) + ((nint)sample * from.SampleStride);
            float* y = pass.At(to) + ((nint)sample * to.SampleStride);
            for (int pixel = 0; pixel < from.Pixels; pixel++)
                Copy(x + (pixel * from.ChannelStride), y + (pixel * from.Shape.Channels), from.Shape.Channels);
        }
    }

    public override void BackwardData(in Pass pass)
    {
        if (input.Gradient is null)
            return;
        Plane from = input.Gradient, to = output.Gradient!;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* dx = pass.At(from) + ((nint)sample * from.SampleStride);
            float* dy = pass.At(to) + ((nint)sample * to.SampleStride);
            for (int pixel = 0; pixel < from.Pixels; pixel++)
                Copy(dy + (pixel * from.Shape.Channels), dx + (pixel * from.ChannelStride), from.Shape.Channels);
        }
    }

    private static void Copy(float* source, float* destination, int count) =>
        new ReadOnlySpan<float>(source, count).CopyTo(new Span<float>(destination, count));
}
