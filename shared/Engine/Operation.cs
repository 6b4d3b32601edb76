using Distributed.Models;

namespace Distributed.Engine;

/// <summary>
/// A planned tensor in every executor's arena: samples one behind the other, each (height, width, channels) with the
/// channels of a pixel at a stride that is a multiple of 16 floats (unless <see cref="IsDense"/>), 64-byte aligned.
/// What lies in the padding lanes is finite and means nothing: whoever sums over channels sums over the real ones.
/// </summary>
/// <param name="Offset">Floats from the arena's start, for a whole microbatch; a multiple of 16.</param>
/// <param name="Shape">Of one sample.</param>
/// <param name="ChannelStride">Floats from pixel to pixel.</param>
/// <param name="SampleStride">Floats from sample to sample.</param>
internal sealed record Plane(int Offset, SampleShape Shape, int ChannelStride, int SampleStride)
{
    public int Pixels => Shape.Height * Shape.Width;

    /// <summary>No padding between pixels: (h, w, c) is at (h W + w) C + c.</summary>
    public bool IsDense => ChannelStride == Shape.Channels;

    public int RowStride => Shape.Width * ChannelStride;
}

/// <summary>What one operation hands to the next: values, and the gradient of the loss by them. Both have one layout.</summary>
/// <param name="Gradient">Null where nobody needs it: on the way in from the images.</param>
internal sealed record Edge(Plane Value, Plane? Gradient);

/// <summary>Hands out places in the arena while a network is compiled. Nothing is allocated after that.</summary>
internal sealed class ArenaPlan(int microbatch)
{
    /// <summary>All places are multiples of this many floats: 64 bytes, a cache line and the widest vector.</summary>
    public const int Alignment = 16;

    /// <summary>The most samples that a pass carries.</summary>
    public int Microbatch { get; } = microbatch;

    /// <summary>Floats that an executor's arena needs.</summary>
    public int Length { get; private set; }

    public static int RoundUp(int floats) => (floats + Alignment - 1) / Alignment * Alignment;

    /// <summary>A stretch of floats for whatever an operation needs; its offset.</summary>
    public int Reserve(int floats)
    {
        int offset = Length;
        // One line more keeps large buffers from starting at the same cache set.
        Length = checked(Length + RoundUp(floats) + Alignment);
        return offset;
    }

    /// <summary>A tensor for a microbatch whose pixels are padded to whole lines of channels.</summary>
    public Plane ReservePlane(SampleShape shape)
    {
        int channelStride = RoundUp(shape.Channels);
        int sampleStride = checked(shape.Height * shape.Width * channelStride);
        return new Plane(Reserve(checked(Microbatch * sampleStride)), shape, channelStride, sampleStride);
    }

    /// <summary>A tensor for a microbatch without any padding: where images come in, and what Flatten gives.</summary>
    public Plane ReserveDensePlane(SampleShape shape) =>
        new(Reserve(checked(Microbatch * shape.Length)), shape, shape.Channels, shape.Length);

    /// <summary>A tensor of the same shape and layout as another.</summary>
    public Plane ReserveLike(Plane plane) => plane with { Offset = Reserve(checked(Microbatch * plane.SampleStride)) };

    /// <summary>The values between two operations with a place for their gradient.</summary>
    public Edge ReserveEdge(SampleShape shape) => new(ReservePlane(shape), ReservePlane(shape));
}

/// <summary>One microbatch on its way through the network: what an operation sees of its executor.</summary>
internal unsafe struct Pass
{
    /// <summary>Number of samples in this pass, 1 to the plan's microbatch.</summary>
    public int Samples;

    /// <summary>The executor's own memory, laid out by the <see cref="ArenaPlan"/>, 64-byte aligned, zero at first.</summary>
    public float* Arena;

    /// <summary>Receives the gradient of every parameter, summed over the samples: written, not added to. P floats, unaligned.</summary>
    public float* Gradient;

    /// <summary>True in training: dropout acts.</summary>
    public bool IsTraining;

    /// <summary>The run's seed and the epoch: with the sample numbers, the key of everything random.</summary>
    public ulong Seed;

    public int Epoch;

    /// <summary>Each sample's number in the training set.</summary>
    public int* SampleNumbers;

    public readonly float* At(Plane plane) => Arena + plane.Offset;

    public readonly float* At(int offset) => Arena + offset;
}

/// <summary>
/// One node of a compiled network: what one or a few fused layers do, forward and backward. An operation is shared by
/// all executors of its network and holds only what is the same for them: its plan, and weights packed anew for each step.
/// </summary>
internal abstract unsafe class Operation : IDisposable
{
    /// <summary>The layers it computes, as in the summary: conv2d_1, or conv2d_1 + max_pooling2d_1.</summary>
    public required string Layers { get; init; }

    /// <summary>Where its parameters begin, which go on to the next operation's; null: it has none.</summary>
    public virtual int? FirstParameter => null;

    /// <summary>Which kernels it uses, for people: "direct 6x64 tiles".</summary>
    public abstract string Kernels { get; }

    /// <summary>Packs this step's weights for <see cref="Forward"/>, before any pass of the step.</summary>
    /// <param name="parameters">All P parameters.</param>
    public virtual void PrepareForward(float* parameters)
    {
    }

    /// <summary>The same for <see cref="Backward"/>.</summary>
    public virtual void PrepareBackward(float* parameters)
    {
    }

    /// <summary>From the input plane to the output plane.</summary>
    public abstract void Forward(in Pass pass);

    /// <summary>
    /// From the gradient of its output to the gradient of its input (if anyone needs it) and of its parameters. May
    /// overwrite the gradient of its output.
    /// </summary>
    public abstract void Backward(in Pass pass);

    public virtual void Dispose() => GC.SuppressFinalize(this);
}
