using Distributed.Models;

namespace Distributed.Engine;

/// <summary>What a microbatch gave: sums, never means.</summary>
/// <param name="LossSum">Cross-entropy summed over the samples, in nats.</param>
/// <param name="Correct">Samples whose most probable class is their label.</param>
public readonly record struct MicrobatchResult(double LossSum, int Correct);

/// <summary>Names one operation of a compiled network and the kernels it runs.</summary>
public readonly record struct OperationDescription(string Layers, string Kernels);

/// <summary>
/// A model compiled for one microbatch size and instruction set: a list of operations over a planned arena. Immutable
/// but for the weights of the step, which <see cref="Prepare"/> packs; any number of <see cref="Executor"/>s then run
/// microbatches on it, one thread each.
/// </summary>
public sealed class Network : IDisposable
{
    private Network(ResolvedModel model, int microbatch, InstructionSet instructionSet)
    {
        Model = model;
        Microbatch = microbatch;
        InstructionSet = instructionSet;
    }

    public ResolvedModel Model { get; }

    /// <summary>The most samples in one pass.</summary>
    public int Microbatch { get; }

    public InstructionSet InstructionSet { get; }

    /// <summary>Which layer got which kernel, in order.</summary>
    public IReadOnlyList<OperationDescription> Operations => throw new InvalidOperationException();

    /// <summary>Compiles a model for passes of up to <paramref name="microbatch"/> samples.</summary>
    public static Network Compile(ResolvedModel model, int microbatch, InstructionSet instructionSet) => new(model, microbatch, instructionSet);

    /// <summary>Takes the weights of a step. No executor may be running.</summary>
    /// <param name="parameters">P values in <see cref="ResolvedModel.Parameters"/> order.</param>
    public void Prepare(ReadOnlySpan<float> parameters) => throw new InvalidOperationException();

    /// <summary>A new executor: the memory that one thread needs to run passes.</summary>
    public Executor CreateExecutor() => new(this);

    public void Dispose()
    {
    }
}

/// <summary>Runs microbatches through a network on the caller's thread, without allocating.</summary>
public sealed class Executor : IDisposable
{
    internal Executor(Network network) => Network = network;

    public Network Network { get; }

    /// <summary>
    /// Where the caller puts a pass's images before it runs: (microbatch, height, width, channels), dense,
    /// one sample every <see cref="SampleShape.Length"/> floats, pixels already divided by 255.
    /// </summary>
    public Span<float> Images => throw new InvalidOperationException();

    /// <summary>Forward, loss and backward for the images put into <see cref="Images"/>.</summary>
    /// <param name="labels">One class number a sample; their count is the pass's samples, 1 to the microbatch.</param>
    /// <param name="sampleNumbers">Each sample's number in the training set, the key of its dropout masks.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">The epoch, from 0.</param>
    /// <param name="gradient">Receives P gradients, summed over the samples.</param>
    public MicrobatchResult Train(ReadOnlySpan<byte> labels, ReadOnlySpan<int> sampleNumbers, ulong seed, int epoch, Span<float> gradient) =>
        throw new InvalidOperationException();

    /// <summary>Forward and loss only, dropout off.</summary>
    /// <param name="labels">One class number a sample.</param>
    /// <param name="predictions">Receives each sample's most probable class (the first, where several are).</param>
    public MicrobatchResult Evaluate(ReadOnlySpan<byte> labels, Span<byte> predictions) => throw new InvalidOperationException();

    /// <summary>Forward only, dropout off: class probabilities for <paramref name="samples"/> images, samples x classes.</summary>
    public void Predict(int samples, Span<float> probabilities) => throw new InvalidOperationException();

    public void Dispose()
    {
    }
}
