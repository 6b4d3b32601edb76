using System.Diagnostics;
using System.Globalization;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>What a benchmark measured.</summary>
/// <param name="MillisecondsPerStep">All of the time by all steps, with what the machine did beside them.</param>
/// <param name="MedianMillisecondsPerStep">Of the steps: what one takes that was left alone.</param>
/// <param name="ImagesPerSecond">All images by all of the time.</param>
internal sealed record BenchmarkResult(
    double MillisecondsPerStep, double MedianMillisecondsPerStep, double ImagesPerSecond, int Threads, InstructionSet InstructionSet)
{
    public string ToJson() => string.Create(
        CultureInfo.InvariantCulture,
        $$"""{"ms_per_step": {{MillisecondsPerStep:0.0000}}, "median_ms_per_step": {{MedianMillisecondsPerStep:0.0000}}, "images_per_second": {{ImagesPerSecond:0}}, "threads": {{Threads}}, "instruction_set": "{{InstructionSet.DisplayName()}}"}""");
}

/// <summary>Whole training steps, RMSprop included, in one process: what the exchange is measured against.</summary>
internal sealed class EngineBenchmark : IResultSink, IDisposable
{
    // Untrained networks have other sparsity, and branch predictors another time.
    private const int WarmUpSteps = 200;

    // Of so many steps, evenly spread, the median is taken.
    private const int MostDurations = 100_000;

    private readonly ShardPlan _plan;
    private readonly int _threads;
    private readonly Network _network;
    private readonly StepExecutor _executor;
    private readonly Optimizer _optimizer;
    private readonly VectorBuffer _weights;
    private readonly TreeNode[] _root;
    private readonly Action<ComputeThread> _updateJob;
    private Partial? _sum;

    public EngineBenchmark(ResolvedModel model, ShardPlan plan, ImageSet images, int threads)
    {
        _plan = plan;
        _threads = threads;
        _network = Network.Compile(model, plan.Microbatch, InstructionSets.Best, StepExecutor.WaveFor(plan, threads));
        ShardStore shards = new(plan, images.Shape.Length);
        for (int shard = 0; shard < plan.Shards; shard++)
        {
            for (int position = 0; position < plan.ShardSamples(shard); position++)
            {
                int sample = plan.SampleAt(shard, position);
                shards.Add(shard, position, images.Image(sample), images.Labels.AsSpan(sample, 1));
            }
        }

        _executor = new StepExecutor(_network, plan, shards, new TestStore(0, images.Shape.Length), threads);
        _optimizer = Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Rmsprop), model.ParameterCount);
        _weights = new VectorBuffer(model.ParameterCount);
        ParameterInitializer.Create(model, plan.Seed).CopyTo(_weights.Values);
        _root = [new ReductionTree(plan.Shards).Root];
        _updateJob = Update;
    }

    /// <summary>As the last step left them.</summary>
    public ReadOnlySpan<float> Weights => _weights.Values;

    /// <summary>Trains for a while, then times <paramref name="steps"/> steps.</summary>
    public BenchmarkResult Run(int steps, CancellationToken cancellation)
    {
        for (int i = 0; i < WarmUpSteps; i++)
            RunStep(i, cancellation);
        int every = (steps + MostDurations - 1) / MostDurations;
        long[] durations = new long[(steps + every - 1) / every];
        long samples = 0;
        long start = Stopwatch.GetTimestamp(), last = start;
        for (int i = 0; i < steps; i++)
        {
            samples += RunStep(WarmUpSteps + i, cancellation);
            long now = Stopwatch.GetTimestamp();
            durations[i / every] = now - last;
            last = now;
        }

        TimeSpan elapsed = Stopwatch.GetElapsedTime(start, last);
        Array.Sort(durations);
        TimeSpan median = Stopwatch.GetElapsedTime(0, durations[durations.Length / 2]);
        return new BenchmarkResult(elapsed.TotalMilliseconds / steps, median.TotalMilliseconds, samples / elapsed.TotalSeconds, _threads, _network.InstructionSet);
    }

    public void DeliverPartial(TreeNode node, Partial partial) => _sum = partial;

    public void DeliverChunk(TreeNode node, Partial partial, int chunk) => throw new NotSupportedException("everything is delivered whole");

    public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions) => throw new NotSupportedException("nothing is evaluated here");

    public void Dispose()
    {
        _executor.Dispose();
        _network.Dispose();
    }

    private int RunStep(int number, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        (int epoch, int step) = Math.DivRem(number, _plan.StepsPerEpoch);
        _executor.Train(_weights.Values, epoch, step, _root, this);
        Partial sum = _sum ?? throw new InvalidOperationException("the step brought no sum");
        _optimizer.BeginStep();
        _executor.Threads.Run(_updateJob);
        int samples = sum.Samples;
        _executor.Pool.Return(sum);
        return samples;
    }

    /// <summary>A thread's share of the parameters.</summary>
    private void Update(ComputeThread thread)
    {
        Partial sum = _sum!;
        _optimizer.UpdateRange(_weights.Values, sum.Gradient.Values, sum.Samples, Start(thread.Index), Start(thread.Index + 1));
    }

    private int Start(int thread) => VectorParts.Start(thread, _threads, _weights.Length);
}
