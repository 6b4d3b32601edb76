using Distributed.Models;
using Distributed.Reduction;

namespace Distributed.Engine;

/// <summary>What a microbatch gave, or several: sums, never means.</summary>
/// <param name="LossSum">Cross-entropy summed over the samples, in nats.</param>
/// <param name="Correct">Samples whose most probable class is their label.</param>
public readonly record struct MicrobatchResult(double LossSum, int Correct)
{
    public static MicrobatchResult operator +(MicrobatchResult left, MicrobatchResult right) =>
        new(left.LossSum + right.LossSum, left.Correct + right.Correct);
}

/// <summary>Hears how far a backward pass has come, on the thread that makes it.</summary>
public interface IBackwardObserver
{
    /// <summary>A layer's gradient is complete, and so are those of all layers behind it.</summary>
    /// <param name="result">The microbatch's, or of those whose gradients are summed.</param>
    /// <param name="first">The first parameter whose gradient is complete; all have been when this is 0.</param>
    void Complete(in MicrobatchResult result, int first);
}

/// <summary>Runs microbatches through a network on the caller's thread, without allocating.</summary>
public sealed unsafe class Executor : IDisposable
{
    private readonly NativeBuffer _arena;

    private readonly WaveSums _sums;

    // The microbatches of the wave that is under way.
    private readonly Pass[] _passes;

    internal Executor(Network network)
    {
        Network = network;
        _arena = new NativeBuffer(network.Compiled.ArenaLength);
        _sums = new WaveSums(network.Compiled, network.Model.ParameterCount);
        _passes = new Pass[network.WaveMicrobatches];
    }

    public Network Network { get; }

    /// <summary>The planes of the last wave, for benchmarks that run single operations.</summary>
    internal NativeBuffer Arena => _arena;

    /// <summary>
    /// Where the caller puts a wave's images before it runs, one microbatch behind the other: (samples, height, width, channels), dense,
    /// one sample every <see cref="SampleShape.Length"/> floats, pixels already divided by 255.
    /// </summary>
    public Span<float> Images => _arena.Span.Slice(Network.Compiled.Images.Offset, Network.WaveSamples * Network.Model.Input.Length);

    /// <summary>Forward, loss and backward for a wave of microbatches whose images are in <see cref="Images"/>.</summary>
    /// <param name="wave">1 to <see cref="Network.WaveMicrobatches"/>.</param>
    /// <param name="sums">What their gradients are added to.</param>
    /// <param name="labels">One class number a sample, microbatch by microbatch.</param>
    /// <param name="sampleNumbers">Each sample's number in the training set, the key of its dropout masks.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">The epoch, from 0.</param>
    /// <param name="precision">What gradients are rounded to before and after they are added; a sum of one microbatch is not.</param>
    public void Train(
        ReadOnlySpan<Microbatch> wave, ReadOnlySpan<GradientSum> sums, ReadOnlySpan<byte> labels, ReadOnlySpan<int> sampleNumbers, ulong seed, int epoch,
        WirePrecision precision = WirePrecision.Float32)
    {
        if (wave.Length < 1 || wave.Length > Network.WaveMicrobatches)
            throw new ArgumentException($"a wave has 1 to {Network.WaveMicrobatches} microbatches, not {wave.Length}", nameof(wave));
        _sums.Begin(wave, sums, precision);
        for (int i = 0; i < sums.Length; i++)
        {
            // A vector's memory stays in its place.
            fixed (float* gradient = CheckGradient(sums[i].Gradient.Values))
                _sums.Place(i, gradient);
        }

        Train(wave, labels, sampleNumbers, seed, epoch, sums);
    }

    /// <summary>Forward, loss and backward for one microbatch whose images are in <see cref="Images"/>.</summary>
    /// <param name="labels">One class number a sample; their count is the samples', 1 to the microbatch.</param>
    /// <param name="sampleNumbers">Each sample's number in the training set, the key of its dropout masks.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="epoch">The epoch, from 0.</param>
    /// <param name="gradient">Receives P gradients, summed over the samples.</param>
    public MicrobatchResult Train(ReadOnlySpan<byte> labels, ReadOnlySpan<int> sampleNumbers, ulong seed, int epoch, Span<float> gradient)
    {
        ReadOnlySpan<Microbatch> wave = [new Microbatch(labels.Length, 0)];
        ReadOnlySpan<GradientSum> unobserved = [new GradientSum(1, null!)];
        _sums.Begin(wave, unobserved, WirePrecision.Float32);
        fixed (float* pointer = CheckGradient(gradient))
        {
            _sums.Place(0, pointer);
            Train(wave, labels, sampleNumbers, seed, epoch, sums: []);
        }

        return _sums.Result(0);
    }

    /// <summary>Forward and loss only, dropout off.</summary>
    /// <param name="labels">One class number a sample; their count is the samples', 1 to <see cref="Network.WaveSamples"/>.</param>
    /// <param name="predictions">Receives each sample's most probable class (the first, where several are).</param>
    /// <param name="sum">What was scored before.</param>
    /// <returns>The sum with each microbatch added to it, in order, whatever wave it is in.</returns>
    public MicrobatchResult Evaluate(ReadOnlySpan<byte> labels, Span<byte> predictions, MicrobatchResult sum = default)
    {
        CheckLabels(labels);
        int microbatches = Cut(labels.Length);
        Forward(microbatches);
        foreach (ref readonly Pass pass in _passes.AsSpan(0, microbatches))
            sum += Network.Compiled.Loss.Run(pass, labels.Slice(pass.First, pass.Samples), predictions.Slice(pass.First, pass.Samples));
        return sum;
    }

    /// <summary>Forward only, dropout off.</summary>
    /// <param name="samples">How many of <see cref="Images"/> to look at.</param>
    /// <param name="probabilities">Receives (samples, classes).</param>
    public void Predict(int samples, Span<float> probabilities)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(samples, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(samples, Network.WaveSamples);
        Forward(Cut(samples));
        Network.Compiled.Loss.Run(Whole(samples), [], []);
        Plane plane = Network.Compiled.Loss.Probabilities;
        int classes = Network.Model.Classes;
        for (int sample = 0; sample < samples; sample++)
            _arena.Span.Slice(plane.Offset + (sample * plane.SampleStride), classes).CopyTo(probabilities.Slice(sample * classes, classes));
    }

    public void Dispose()
    {
        _sums.Dispose();
        _arena.Dispose();
    }

    /// <summary>Makes passes of samples that need no gradient; returns how many.</summary>
    private int Cut(int samples)
    {
        int count = 0;
        for (int first = 0; first < samples; first += Network.Microbatch)
            _passes[count++] = new Pass { Arena = _arena.Pointer, First = first, Samples = Math.Min(Network.Microbatch, samples - first) };
        return count;
    }

    /// <summary>The wave as one pass, which has no gradient of its own.</summary>
    private Pass Whole(int samples)
    {
        Pass pass = _passes[0];
        pass.Samples = samples;
        return pass;
    }

    private void Forward(int microbatches)
    {
        ReadOnlySpan<Operation> operations = Network.Compiled.Operations;
        int firstOfWholeWaves = Network.Compiled.FirstOfWholeWaves, samples = 0;
        foreach (ref readonly Pass pass in _passes.AsSpan(0, microbatches))
        {
            foreach (Operation operation in operations[..firstOfWholeWaves])
                operation.Forward(pass);
            samples += pass.Samples;
        }

        Pass whole = Whole(samples);
        foreach (Operation operation in operations[firstOfWholeWaves..])
            operation.Forward(whole);
    }

    /// <param name="sums">For their observers; empty: nobody is told.</param>
    private void Train(
        ReadOnlySpan<Microbatch> wave, ReadOnlySpan<byte> labels, ReadOnlySpan<int> sampleNumbers, ulong seed, int epoch, ReadOnlySpan<GradientSum> sums)
    {
        CheckLabels(labels);
        if (sampleNumbers.Length != labels.Length)
            throw new ArgumentException($"{labels.Length} labels came with {sampleNumbers.Length} sample numbers", nameof(sampleNumbers));
        fixed (int* numbers = sampleNumbers)
        {
            int samples = 0;
            for (int i = 0; i < wave.Length; i++)
            {
                _passes[i] = new Pass
                {
                    Arena = _arena.Pointer,
                    First = samples,
                    Samples = CheckMicrobatch(wave[i].Samples),
                    IsTraining = true,
                    Seed = seed,
                    Epoch = epoch,
                    SampleNumbers = numbers + samples,
                };
                samples += wave[i].Samples;
            }

            if (samples != labels.Length)
                throw new ArgumentException($"{labels.Length} labels came with {samples} samples", nameof(labels));
            Forward(wave.Length);
            for (int i = 0; i < wave.Length; i++)
                _sums.Take(i, Network.Compiled.Loss.Run(_passes[i], labels.Slice(_passes[i].First, _passes[i].Samples), []));
            Backward(wave.Length, Whole(samples), sums);
        }
    }

    private void Backward(int microbatches, in Pass whole, ReadOnlySpan<GradientSum> sums)
    {
        Operation[] operations = Network.Compiled.Operations;
        int last = operations.Length - 1;
        for (; last >= Network.Compiled.FirstOfWholeWaves; last--)
        {
            for (int i = 0; i < microbatches; i++)
                BackwardWeights(last, i, sums);
            operations[last].BackwardData(whole);
        }

        for (int i = 0; i < microbatches; i++)
        {
            for (int operation = last; operation >= 0; operation--)
            {
                BackwardWeights(operation, i, sums);
                operations[operation].BackwardData(_passes[i]);
            }
        }
    }

    private void BackwardWeights(int index, int microbatch, ReadOnlySpan<GradientSum> sums)
    {
        Operation operation = Network.Compiled.Operations[index];
        if (operation.FirstParameter is not { } first)
            return;
        _passes[microbatch].Gradient = _sums.Gradient(index, microbatch);
        operation.BackwardWeights(_passes[microbatch]);
        if (_sums.Add(index, microbatch, out int sum, out MicrobatchResult result) && !sums.IsEmpty)
            sums[sum].Observer?.Complete(result, first);
    }

    private int CheckMicrobatch(int samples) => samples >= 1 && samples <= Network.Microbatch
        ? samples
        : throw new ArgumentException($"a microbatch has 1 to {Network.Microbatch} samples, not {samples}", nameof(samples));

    private Span<float> CheckGradient(Span<float> gradient) => gradient.Length == Network.Model.ParameterCount
        ? gradient
        : throw new ArgumentException($"the gradient has {Network.Model.ParameterCount} values, not {gradient.Length}", nameof(gradient));

    private void CheckLabels(ReadOnlySpan<byte> labels)
    {
        if (labels.Length < 1 || labels.Length > Network.WaveSamples)
            throw new ArgumentException($"a wave has 1 to {Network.WaveSamples} samples, not {labels.Length}", nameof(labels));
        foreach (byte label in labels)
        {
            if (label >= Network.Model.Classes)
                throw new ArgumentException($"label {label} is not one of {Network.Model.Classes} classes", nameof(labels));
        }
    }
}
