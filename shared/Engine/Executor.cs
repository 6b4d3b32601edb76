using Distributed.Models;

namespace Distributed.Engine;

/// <summary>What a microbatch gave: sums, never means.</summary>
/// <param name="LossSum">Cross-entropy summed over the samples, in nats.</param>
/// <param name="Correct">Samples whose most probable class is their label.</param>
public readonly record struct MicrobatchResult(double LossSum, int Correct);

/// <summary>Hears how far a backward pass has come, on the thread that makes it.</summary>
public interface IBackwardObserver
{
    /// <summary>A layer's gradient is complete, and so are those of all layers behind it.</summary>
    /// <param name="result">The pass's.</param>
    /// <param name="first">The first parameter whose gradient is complete; all have been when this is 0.</param>
    void Complete(in MicrobatchResult result, int first);
}

/// <summary>Runs microbatches through a network on the caller's thread, without allocating.</summary>
public sealed unsafe class Executor : IDisposable
{
    private readonly NativeBuffer _arena;

    internal Executor(Network network)
    {
        Network = network;
        _arena = new NativeBuffer(network.Compiled.ArenaLength);
    }

    public Network Network { get; }

    /// <summary>The planes of the last pass, for benchmarks that run single operations.</summary>
    internal NativeBuffer Arena => _arena;

    /// <summary>
    /// Where the caller puts a pass's images before it runs: (microbatch, height, width, channels), dense,
    /// one sample every <see cref="SampleShape.Length"/> floats, pixels already divided by 255.
    /// </summary>
    public Span<float> Images => _arena.Span.Slice(Network.Compiled.Images.Offset, Network.Microbatch * Network.Model.Input.Length);

    /// <summary>Forward, loss and backward for the images put into <see cref="Images"/>.</summary>
    /// <param name="labels">One class number a sample; their count is the pass's samples, 1 to the microbatch.</param>
    /// <param name="sampleNumbers">Each sample's number in the training set, the key of its dropout masks.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">The epoch, from 0.</param>
    /// <param name="gradient">Receives P gradients, summed over the samples.</param>
    /// <param name="observer">Told of each layer's gradient as it is complete, the last layer's first.</param>
    public MicrobatchResult Train(
        ReadOnlySpan<byte> labels, ReadOnlySpan<int> sampleNumbers, ulong seed, int epoch, Span<float> gradient, IBackwardObserver? observer = null)
    {
        CheckLabels(labels);
        if (sampleNumbers.Length != labels.Length)
            throw new ArgumentException($"{labels.Length} labels came with {sampleNumbers.Length} sample numbers", nameof(sampleNumbers));
        if (gradient.Length != Network.Model.ParameterCount)
            throw new ArgumentException($"the gradient has {Network.Model.ParameterCount} values, not {gradient.Length}", nameof(gradient));
        fixed (int* numbers = sampleNumbers)
        fixed (float* sum = gradient)
        {
            Pass pass = NewPass(labels.Length);
            pass.IsTraining = true;
            pass.Seed = seed;
            pass.Epoch = epoch;
            pass.SampleNumbers = numbers;
            pass.Gradient = sum;
            Forward(pass);
            MicrobatchResult result = Network.Compiled.Loss.Run(pass, labels, []);
            Operation[] operations = Network.Compiled.Operations;
            for (int i = operations.Length - 1; i >= 0; i--)
            {
                operations[i].Backward(pass);
                if (observer is not null && operations[i].FirstParameter is { } first)
                    observer.Complete(result, first);
            }

            return result;
        }
    }

    /// <summary>Forward and loss only, dropout off.</summary>
    /// <param name="labels">One class number a sample.</param>
    /// <param name="predictions">Receives each sample's most probable class (the first, where several are).</param>
    public MicrobatchResult Evaluate(ReadOnlySpan<byte> labels, Span<byte> predictions)
    {
        CheckLabels(labels);
        Pass pass = NewPass(labels.Length);
        Forward(pass);
        return Network.Compiled.Loss.Run(pass, labels, predictions);
    }

    /// <summary>Forward only, dropout off.</summary>
    /// <param name="samples">How many of <see cref="Images"/> to look at.</param>
    /// <param name="probabilities">Receives (samples, classes).</param>
    public void Predict(int samples, Span<float> probabilities)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(samples, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(samples, Network.Microbatch);
        Pass pass = NewPass(samples);
        Forward(pass);
        Network.Compiled.Loss.Run(pass, [], []);
        Plane plane = Network.Compiled.Loss.Probabilities;
        int classes = Network.Model.Classes;
        for (int sample = 0; sample < samples; sample++)
            _arena.Span.Slice(plane.Offset + (sample * plane.SampleStride), classes).CopyTo(probabilities.Slice(sample * classes, classes));
    }

    public void Dispose() => _arena.Dispose();

    private Pass NewPass(int samples) => new() { Samples = samples, Arena = _arena.Pointer };

    private void Forward(in Pass pass)
    {
        foreach (Operation operation in Network.Compiled.Operations)
            operation.Forward(pass);
    }

    private void CheckLabels(ReadOnlySpan<byte> labels)
    {
        if (labels.Length < 1 || labels.Length > Network.Microbatch)
            throw new ArgumentException($"a pass takes 1 to {Network.Microbatch} samples, not {labels.Length}", nameof(labels));
        foreach (byte label in labels)
        {
            if (label >= Network.Model.Classes)
                throw new ArgumentException($"label {label} is not one of {Network.Model.Classes} classes", nameof(labels));
        }
    }
}
