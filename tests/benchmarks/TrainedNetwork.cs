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
    private const int WarmUpSteps = 200;

    private readonly Dataset _dataset;
    private readonly ShardPlan _plan;
    private readonly float[][] _partials;
    private readonly Optimizer _optimizer;
    private readonly float[] _parameters;
    private readonly NativeBuffer _arena, _gradient;
    private int _step;

    public TrainedNetwork(ModelDefinition definition, InstructionSet instructionSet)
    {
        _dataset = new DatasetSource(new DatasetSourceOptions()).LoadAsync("mnist", null, null, CancellationToken.None).GetAwaiter().GetResult().Dataset;
        _plan = new ShardPlan(_dataset.Train.Count, BatchSize, Shards, seed: 1, shuffle: true);
        Model = ModelResolver.Resolve(definition, _dataset.Shape, _dataset.Classes);
        Network = Network.Compile(Model, _plan.Microbatch, instructionSet);
        Executor = Network.CreateExecutor();
        _parameters = ParameterInitializer.Create(Model, 1);
        _partials = [.. Enumerable.Range(0, Shards).Select(_ => new float[_parameters.Length])];
        _optimizer = Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Rmsprop), _parameters.Length);
        while (_step < WarmUpSteps)
            Step();

        // The last microbatch's activations and gradients stay in the arena for single operations to work on.
        _arena = Executor.Arena;
        _gradient = new NativeBuffer(_parameters.Length);
        Pass = new Pass { Samples = _plan.Microbatch, Arena = _arena.Pointer, Gradient = _gradient.Pointer, IsTraining = true };
    }

    public ResolvedModel Model { get; }

    public Network Network { get; }

    public Executor Executor { get; }

    public Pass Pass { get; }

    /// <summary>One training step of 64 images, the update included.</summary>
    public void Step()
    {
        Prepare();
        for (int shard = 0; shard < Shards; shard++)
            Train(shard);
        for (int distance = 1; distance < Shards; distance *= 2)
        {
            for (int shard = 0; shard + distance < Shards; shard += 2 * distance)
                PartialSum.Add(_partials[shard], _partials[shard + distance]);
        }

        _optimizer.Update(_parameters, _partials[0], BatchSize);
        _step = (_step + 1) % (_plan.StepsPerEpoch - 1);
    }

    public void Prepare() => Network.Prepare(_parameters);

    public void Dispose()
    {
        _gradient.Dispose();
        Executor.Dispose();
        Network.Dispose();
    }

    private void Train(int shard)
    {
        (byte[] labels, int[] samples) = Fill(shard);
        Executor.Train(labels, samples, seed: 1, epoch: 0, _partials[shard]);
    }

    private (byte[] Labels, int[] Samples) Fill(int shard)
    {
        int[] samples = [.. Enumerable.Range(_step * _plan.Microbatch, _plan.Microbatch).Select(position => _plan.SampleAt(shard, position))];
        for (int i = 0; i < samples.Length; i++)
            _dataset.Train.CopyScaled(samples[i], Executor.Images.Slice(i * Model.Input.Length, Model.Input.Length));
        return ([.. samples.Select(sample => _dataset.Train.Labels[sample])], samples);
    }
}
