using Distributed.Data;
using Distributed.Data.Fetching;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Benchmarks;

/// <summary>
/// A network after some steps of training on real images: what live windows and arg-max positions look like decides how
/// fast the sparse kernels are, and made-up data flatters the branch predictor.
/// </summary>
internal sealed unsafe class TrainedNetwork : IDisposable
{
    public const int BatchSize = 64;
    public const int Shards = 8;

    /// <summary>Microbatches that go through the network together, and such waves in a step.</summary>
    public const int WaveMicrobatches = Network.LongestUsefulWave;

    public const int Waves = Shards / WaveMicrobatches;

    private const int Microbatch = BatchSize / Shards;
    private const int WarmUpSteps = 200;

    private readonly Dataset _dataset;
    private readonly ShardPlan _plan;
    private readonly VectorBuffer[] _partials;
    private readonly Optimizer _optimizer;
    private readonly VectorBuffer _parameters;
    private readonly NativeBuffer _gradient;
    private readonly byte[] _labels = new byte[WaveMicrobatches * Microbatch];
    private readonly int[] _samples = new int[WaveMicrobatches * Microbatch];
    private int _step;

    public TrainedNetwork(ModelDefinition definition, InstructionSet instructionSet)
    {
        _dataset = new DatasetSource(new DatasetSourceOptions()).LoadAsync("mnist", null, null, CancellationToken.None).GetAwaiter().GetResult().Dataset;
        _plan = new ShardPlan(_dataset.Train.Count, BatchSize, Shards, seed: 1, shuffle: true);
        Model = ModelResolver.Resolve(definition, _dataset.Shape, _dataset.Classes);
        Network = Network.Compile(Model, Microbatch, instructionSet, WaveMicrobatches);
        Executor = Network.CreateExecutor();
        _parameters = new VectorBuffer(Model.ParameterCount);
        ParameterInitializer.Create(Model, 1).CopyTo(_parameters.Values);
        _partials = [.. Enumerable.Range(0, Waves).Select(_ => new VectorBuffer(_parameters.Length))];
        _optimizer = Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Rmsprop), _parameters.Length);
        while (_step < WarmUpSteps)
            Step();

        // The last wave's activations and gradients stay in the arena for single operations to work on.
        _gradient = new NativeBuffer(_parameters.Length);
        Pass first = new() { Samples = Microbatch, Arena = Executor.Arena.Pointer, Gradient = _gradient.Pointer, IsTraining = true };
        Microbatches = [.. Enumerable.Range(0, WaveMicrobatches).Select(i => first with { First = i * Microbatch })];
        WholeWave = first with { Samples = WaveMicrobatches * Microbatch };
    }

    public ResolvedModel Model { get; }

    public Network Network { get; }

    public Executor Executor { get; }

    /// <summary>Passes of the last wave.</summary>
    public IReadOnlyList<Pass> Microbatches { get; }

    /// <summary>The same in one.</summary>
    public Pass WholeWave { get; }

    /// <summary>One training step of 64 images, the update included.</summary>
    public void Step()
    {
        Prepare();
        for (int wave = 0; wave < Waves; wave++)
            Train(wave);
        PartialSum.Add(_partials[0].Values, _partials[1].Values);
        _optimizer.Update(_parameters.Values, _partials[0].Values, BatchSize);
        _step = (_step + 1) % (_plan.StepsPerEpoch - 1);
    }

    public void Prepare()
    {
        fixed (float* parameters = _parameters.Values)
            Network.Prepare(parameters);
    }

    public void Dispose()
    {
        _gradient.Dispose();
        Executor.Dispose();
        Network.Dispose();
    }

    private void Train(int wave)
    {
        for (int i = 0; i < _samples.Length; i++)
        {
            int sample = _plan.SampleAt((wave * WaveMicrobatches) + (i / Microbatch), (_step * Microbatch) + (i % Microbatch));
            _dataset.Train.CopyScaled(sample, Executor.Images.Slice(i * Model.Input.Length, Model.Input.Length));
            (_samples[i], _labels[i]) = (sample, _dataset.Train.Labels[sample]);
        }

        Executor.Train(
            [new(Microbatch, 0), new(Microbatch, 1), new(Microbatch, 0), new(Microbatch, 2)], [new(WaveMicrobatches, _partials[wave])],
            _labels, _samples, seed: 1, epoch: 0);
    }
}
