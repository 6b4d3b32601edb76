using Distributed.Models;

namespace Distributed.Engine;

/// <summary>
/// A planned tensor in every executor's arena: samples one behind the other, each (height, width, channels) with the
/// channels of a pixel at a stride that is a multiple of 16 floats (unless <see cref="IsDense"/>), 64-byte aligned.
/// What lies in the padding lanes is finite and means nothing: whoever sums over channels sums over the real ones.
/// </summary>
/// <param name="Offset">Floats from the arena's start to a wave's first sample; a multiple of 16.</param>
/// <param name="Shape">Of one sample.</param>
/// <param name="ChannelStride">Floats from pixel to pixel.</param>
/// <param name="SampleStride">Floats from sample to sample.</param>
internal sealed record Plane(int Offset, SampleShape Shape, int ChannelStride, int SampleStride)
{
    /// <summary>Floats from a sample of a wave to the next: <see cref="SampleStride"/>, or 0 where each pass uses the same memory as the one before.</summary>
    public int WaveStride { get; init; } = SampleStride;

    public int Pixels => Shape.Height * Shape.Width;

    /// <summary>No padding between pixels: (h, w, c) is at (h W + w) C + c.</summary>
    public bool IsDense => ChannelStride == Shape.Channels;

    public int RowStride => Shape.Width * ChannelStride;
}

/// <summary>What one operation hands to the next: values, and the gradient of the loss by them. Both have one layout.</summary>
/// <param name="Gradient">Null where nobody needs it: on the way in from the images.</param>
internal sealed record Edge(Plane Value, Plane? Gradient);

/// <summary>Hands out places in the arena while a network is compiled. Nothing is allocated after that.</summary>
/// <param name="microbatch">The most samples in a microbatch.</param>
/// <param name="microbatches">The most microbatches in a wave.</param>
internal sealed class ArenaPlan(int microbatch, int microbatches)
{
    /// <summary>All places are multiples of this many floats: 64 bytes, a cache line and the widest vector.</summary>
    public const int Alignment = 16;

    /// <summary>The most samples in a microbatch.</summary>
    public int Microbatch { get; } = microbatch;

    /// <summary>The most samples in a wave: planes, and whatever lasts from a forward pass to its backward pass, have room for them.</summary>
    public int WaveSamples { get; } = checked(microbatch * microbatches);

    /// <summary>The most samples in one pass through the operation that is being planned: a microbatch, or a wave.</summary>
    public int PassSamples { get; private set; } = microbatch;

    /// <summary>Floats that an executor's arena needs.</summary>
    public int Length { get; private set; }

    /// <summary>Whether the gradients of the values that are being planned last until all microbatches of a wave have passed.</summary>
    public bool KeepsGradients { get; set; }

    /// <summary>From the next operation on a pass carries all of a wave.</summary>
    public void BeginWholeWaves() => PassSamples = WaveSamples;

    public static int RoundUp(int floats) => (floats + Alignment - 1) / Alignment * Alignment;

    /// <summary>A stretch of floats for whatever an operation needs; its offset.</summary>
    public int Reserve(int floats)
    {
        int offset = Length;
        // One line more keeps large buffers from starting at the same cache set.
        Length = checked(Length + RoundUp(floats) + Alignment);
        return offset;
    }

    /// <summary>A tensor for a wave whose pixels are padded to whole lines of channels.</summary>
    public Plane ReservePlane(SampleShape shape)
    {
        int channelStride = RoundUp(shape.Channels);
        int sampleStride = checked(shape.Height * shape.Width * channelStride);
        return new Plane(Reserve(checked(WaveSamples * sampleStride)), shape, channelStride, sampleStride);
    }

    /// <summary>A tensor like another, but for its extents: a copy with a border.</summary>
    public Plane ReserveBordered(Plane inner, SampleShape shape)
    {
        int sampleStride = checked(shape.Height * shape.Width * inner.ChannelStride);
        bool isOfWave = inner.WaveStride != 0;
        int offset = Reserve(checked((isOfWave ? WaveSamples : PassSamples) * sampleStride));
        return new Plane(offset, shape, inner.ChannelStride, sampleStride) { WaveStride = isOfWave ? sampleStride : 0 };
    }

    /// <summary>A tensor for a wave without any padding: where images come in, and what Flatten gives.</summary>
    public Plane ReserveDensePlane(SampleShape shape) =>
        new(Reserve(checked(WaveSamples * shape.Length)), shape, shape.Channels, shape.Length);

    /// <summary>A tensor of the same shape and layout as another.</summary>
    public Plane ReserveLike(Plane plane) => plane with { Offset = Reserve(checked(WaveSamples * plane.SampleStride)), WaveStride = plane.SampleStride };

    /// <summary>
    /// A gradient of the same shape and layout as a value. Between operations that take microbatches one by one it is used up before the next
    /// one's is written, and stays in the caches.
    /// </summary>
    public Plane ReserveGradient(Plane value) => KeepsGradients
        ? ReserveLike(value)
        : value with { Offset = Reserve(checked(PassSamples * value.SampleStride)), WaveStride = 0 };

    /// <summary>The values between two operations with a place for their gradient.</summary>
    public Edge ReserveEdge(SampleShape shape)
    {
        Plane value = ReservePlane(shape);
        return new Edge(value, ReserveGradient(value));
    }
}

/// <summary>Some samples on their way through the network, a microbatch or all of a wave: what an operation sees of its executor.</summary>
internal unsafe struct Pass
{
    /// <summary>Samples of the wave in front of this pass'.</summary>
    public int First;

    /// <summary>Number of samples in this pass, 1 to the plan's <see cref="ArenaPlan.PassSamples"/>.</summary>
    public int Samples;

    /// <summary>The executor's own memory, laid out by the <see cref="ArenaPlan"/>, 64-byte aligned, zero at first.</summary>
    public float* Arena;

    /// <summary>
    /// A microbatch's: where the operation writes the gradient of its parameters, summed over the samples, not added to what is there; as if
    /// P floats were here.
    /// </summary>
    public float* Gradient;

    /// <summary>True in training: dropout acts.</summary>
    public bool IsTraining;

    /// <summary>The run's seed and the epoch: with the sample numbers, the key of everything random.</summary>
    public ulong Seed;

    public int Epoch;

    /// <summary>Each sample's number in the training set.</summary>
    public int* SampleNumbers;

    /// <summary>Where this pass' samples begin.</summary>
    public readonly float* At(Plane plane) => Arena + plane.Offset + ((nint)First * plane.WaveStride);

    public readonly float* At(int offset) => Arena + offset;
}

/// <summary>
/// One node of a compiled network: what one or a few fused layers do, forward and backward. An operation is shared by
/// all executors of its network and holds only what is the same for them: its plan, and where the step's weights are, some packed.
/// </summary>
internal abstract unsafe class Operation : IDisposable
{
    /// <summary>The layers it computes, as in the summary: conv2d_1, or conv2d_1 + max_pooling2d_1.</summary>
    public required string Layers { get; init; }

    /// <summary>Where its parameters begin, which go on to the next operation's; null: it has none.</summary>
    public virtual int? FirstParameter => null;

    /// <summary>Which kernels it uses, for people: "direct 6x64 tiles".</summary>
    public abstract string Kernels { get; }

    /// <summary>Takes this step's weights for <see cref="Forward"/>, before any pass of the step.</summary>
    /// <param name="parameters">All P parameters; they stay where they are as long as the step lasts.</param>
    public virtual void PrepareForward(float* parameters)
    {
    }

    /// <summary>The same for the way back.</summary>
    public virtual void PrepareBackward(float* parameters)
    {
    }

    /// <summary>From the input plane to the output plane.</summary>
    public abstract void Forward(in Pass pass);

    /// <summary>From the gradient of its output to that of its parameters, for one microbatch. May overwrite the gradient of its output.</summary>
    public virtual void BackwardWeights(in Pass pass)
    {
    }

    /// <summary>
    /// From the gradient of its output to that of its input, if anyone needs it, for a microbatch or a wave, after
    /// <see cref="BackwardWeights"/> of the same samples. May overwrite the gradient of its output.
    /// </summary>
    public abstract void BackwardData(in Pass pass);

    public virtual void Dispose() => GC.SuppressFinalize(this);
}
