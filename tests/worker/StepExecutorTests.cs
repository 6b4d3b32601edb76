using System.Runtime.InteropServices;
using System.Text.Json;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Reduction;
using Distributed.Worker.Compute;

namespace Distributed.Tests;

public sealed class StepExecutorTests : IDisposable
{
    private readonly TinyRun _tiny = new(train: 100, test: 45, takesWholeWaves: true);
    private readonly Dataset _dataset;
    private readonly ShardPlan _plan;
    private readonly ResolvedModel _model;

    public StepExecutorTests()
    {
        _dataset = _tiny.Dataset;
        _plan = new ShardPlan(_dataset.Train.Count, 32, 8, seed: 3, shuffle: true);
        _model = _tiny.Model;
    }

    [Theory]
    [InlineData(0, WirePrecision.Float32)]
    [InlineData(3, WirePrecision.Float32)]
    [InlineData(0, WirePrecision.Bf16)]
    [InlineData(3, WirePrecision.Bf16)]
    public void Train_WithAnyNumberOfThreads_GivesTheSameBits(int step, WirePrecision precision)
    {
        (_, byte[] expected, StepTotals totals) = Train(1, step, [new TreeNode(3, 0)], precision, wave: 1).Single();
        Assert.All([1, 2, 5], threads =>
        {
            (_, byte[] gradient, StepTotals others) = Train(threads, step, [new TreeNode(3, 0)], precision).Single();
            Assert.Equal(expected, gradient);
            Assert.Equal(totals, others);
        });
    }

    [Fact]
    public void Train_WithBfloat16OnTheWire_DeliversSingleMicrobatchesRounded() => Assert.All(
        Train(2, 0, [.. Enumerable.Range(0, 8).Select(TreeNode.Leaf)], WirePrecision.Bf16),
        static partial => Assert.Equal(-1, Bfloat16.FindOther(MemoryMarshal.Cast<byte, float>(partial.Gradient))));

    [Theory]
    [InlineData(1, 1, WirePrecision.Float32)]
    [InlineData(2, 16, WirePrecision.Float32)]
    [InlineData(3, 100, WirePrecision.Float32)]
    [InlineData(8, 16, WirePrecision.Bf16)]
    [InlineData(2, int.MaxValue, WirePrecision.Bf16)]
    public void Train_DeliveringChunks_GivesTheSameBits(int threads, int chunkValues, WirePrecision precision)
    {
        TreeNode[][] orders = [[new(3, 0)], [new(0, 2), new(1, 0), new(2, 1)], [.. Enumerable.Range(0, 8).Select(TreeNode.Leaf)]];
        Assert.All(orders, nodes => Assert.All([0, 3], step => Assert.Equal(
            Train(1, step, Active(nodes, step), precision, wave: 1).OrderBy(static partial => partial.Node.FirstShard),
            Train(threads, step, Active(nodes, step), precision, chunkValues).OrderBy(static partial => partial.Node.FirstShard),
            static (one, other) => one.Node == other.Node && one.Totals == other.Totals && one.Gradient.AsSpan().SequenceEqual(other.Gradient))));

        TreeNode[] Active(TreeNode[] nodes, int step) => [.. nodes.Where(node => node.FirstShard < _plan.ActiveShards(step))];
    }

    [Fact]
    public void Train_AskedForSeveralNodes_DeliversEachOnce()
    {
        TreeNode[] nodes = [new(0, 2), new(1, 0), new(2, 1)];
        List<(TreeNode Node, byte[] Gradient, StepTotals Totals)> delivered = Train(2, 0, nodes);
        Assert.Equal(nodes.ToHashSet(), [.. delivered.Select(static partial => partial.Node)]);
        Assert.Equal([4, 8, 16], delivered.OrderBy(static partial => partial.Node.Level).Select(static partial => partial.Totals.Samples));
    }

    /// <summary>Blocks of the test set that waves cut anywhere.</summary>
    [Fact]
    public void Evaluate_InWaves_ScoresAsMicrobatchByMicrobatch()
    {
        Assert.Equal(Evaluate(1), Evaluate(StepExecutor.WaveFor(_plan, 1)));

        List<string> Evaluate(int wave)
        {
            using Network network = Compile(1, wave);
            TestStore tests = new(3, 64);
            for (int block = 0; block < 3; block++)
                tests.Add(block, _dataset.Test.Images.AsSpan(block * 15 * 64, 15 * 64), _dataset.Test.Labels.AsSpan(block * 15, 15));
            using StepExecutor executor = new(network, _plan, FillShards(_plan), tests, 1);
            Sink sink = new(executor);
            executor.Evaluate(ParameterInitializer.Create(_model, 1), [0, 1, 2], sink);
            return sink.Scores;
        }
    }

    [Fact]
    public void Train_WithoutAShardsData_Refuses()
    {
        using Network network = Network.Compile(_model, _plan.Microbatch, InstructionSets.Best);
        using StepExecutor executor = new(network, _plan, new ShardStore(_plan, 64), new TestStore(0, 64), 1);
        Assert.Throws<InvalidOperationException>(() => executor.Train(new float[_model.ParameterCount], 0, 0, [TreeNode.Leaf(0)], new Sink(executor)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Train_InSteadyState_AllocatesNothing(bool inChunks)
    {
        VectorChunks? chunks = inChunks ? new VectorChunks(_model.ParameterCount, 16) : null;
        using Network network = Compile(threads: 1);
        using StepExecutor executor = new(network, _plan, FillShards(_plan), new TestStore(0, 64), 1, chunks: chunks);
        ReturningSink sink = new(executor, chunks);
        float[] weights = ParameterInitializer.Create(_model, 1);
        TreeNode[] nodes = [new(3, 0)];
        for (int i = 0; i < 3; i++)
            executor.Train(weights, 0, i, nodes, sink);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 3; i++)
            executor.Train(weights, 0, i, nodes, sink);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Theory]
    [InlineData(32)]
    [InlineData(96)]
    public void Gather_OverAnEpoch_BringsEverySampleOnceAndAsStored(int batchSize)
    {
        // Microbatches of 4 and of 12: fewer samples and more than are asked for ahead.
        ShardPlan plan = new(_dataset.Train.Count, batchSize, 8, seed: 3, shuffle: true);
        ShardStore shards = FillShards(plan);
        int[] seen = new int[_dataset.Train.Count];
        float[] images = new float[plan.Microbatch * 64], expected = new float[64];
        byte[] labels = new byte[plan.Microbatch];
        int[] numbers = new int[plan.Microbatch];
        for (int step = 0; step < plan.StepsPerEpoch; step++)
        {
            for (int shard = 0; shard < plan.ActiveShards(step); shard++)
            {
                int samples = shards.Gather(shard, 5, step, images, labels, numbers);
                Assert.Equal(plan.MicrobatchSamples(shard, step), samples);
                for (int i = 0; i < samples; i++)
                {
                    seen[numbers[i]]++;
                    _dataset.Train.CopyScaled(numbers[i], expected);
                    Assert.Equal(_dataset.Train.Labels[numbers[i]], labels[i]);
                    Assert.Equal(expected, images[(i * 64)..((i + 1) * 64)]);
                }
            }
        }

        Assert.All(seen, static count => Assert.Equal(1, count));
    }

    [Fact]
    public void ShardStore_WithSamplesThatDoNotFit_Refuses()
    {
        ShardStore shards = new(_plan, 64);
        Assert.Throws<ArgumentException>(() => shards.Add(8, 0, new byte[64], new byte[1]));
        Assert.Throws<ArgumentException>(() => shards.Add(0, 0, new byte[63], new byte[1]));
        Assert.Throws<ArgumentException>(() => shards.Add(0, _plan.ShardSamples(0), new byte[64], new byte[1]));
        Assert.False(shards.IsComplete(0));
    }

    [Fact]
    public void ComputePool_WhenAHelperFails_ReportsIt()
    {
        using Network network = Network.Compile(_model, 1, InstructionSets.Best);
        using ComputePool pool = new(network, 3);
        int runs = 0;
        pool.Run(_ => Interlocked.Increment(ref runs));
        Assert.Equal(3, runs);
        Assert.ThrowsAny<Exception>(() => pool.Run(static _ => throw new InvalidDataException("broken")));
        pool.Run(_ => Interlocked.Increment(ref runs));
        Assert.Equal(6, runs);
    }

    [Fact]
    public void Benchmark_WithAnyNumberOfThreads_TrainsTheSameWeights()
    {
        byte[][] weights = [.. Enumerable.Range(1, 3).Select(threads =>
        {
            using EngineBenchmark benchmark = new(_model, _plan, _dataset.Train, threads);
            BenchmarkResult result = benchmark.Run(steps: 3, CancellationToken.None);
            using JsonDocument json = JsonDocument.Parse(result.ToJson());
            Assert.InRange(json.RootElement.GetProperty("median_ms_per_step").GetDouble(), 0, 3 * json.RootElement.GetProperty("ms_per_step").GetDouble());
            Assert.Equal(threads, json.RootElement.GetProperty("threads").GetInt32());
            return MemoryMarshal.AsBytes(benchmark.Weights).ToArray();
        })];
        Assert.Equal(weights[0], weights[1]);
        Assert.Equal(weights[0], weights[2]);
    }

    public void Dispose() => _tiny.Dispose();

    private List<(TreeNode Node, byte[] Gradient, StepTotals Totals)> Train(
        int threads, int step, TreeNode[] nodes, WirePrecision precision = WirePrecision.Float32, int? chunkValues = null, int? wave = null)
    {
        VectorChunks? chunks = chunkValues is { } size ? new VectorChunks(_model.ParameterCount, size) : null;
        using Network network = Compile(threads, wave);
        using StepExecutor executor = new(network, _plan, FillShards(_plan), new TestStore(0, 64), threads, precision: precision, chunks: chunks);
        Sink sink = new(executor, chunks);
        executor.Train(ParameterInitializer.Create(_model, 1), 0, step, nodes, sink);
        return sink.Delivered;
    }

    /// <param name="wave">The most microbatches in one; null: as in a worker.</param>
    private Network Compile(int threads, int? wave = null)
    {
        int most = wave ?? StepExecutor.WaveFor(_plan, threads);
        Network network = Network.Compile(_model, _plan.Microbatch, InstructionSets.Best, most);
        Assert.Equal(most, network.WaveMicrobatches);
        return network;
    }

    private ShardStore FillShards(ShardPlan plan)
    {
        ShardStore shards = new(plan, 64);
        for (int shard = 0; shard < plan.Shards; shard++)
        {
            for (int position = 0; position < plan.ShardSamples(shard); position++)
            {
                int sample = plan.SampleAt(shard, position);
                shards.Add(shard, position, _dataset.Train.Image(sample), _dataset.Train.Labels.AsSpan(sample, 1));
            }

            Assert.True(shards.IsComplete(shard));
        }

        return shards;
    }

    private sealed class Sink(StepExecutor executor, VectorChunks? chunks = null) : IResultSink
    {
        public List<(TreeNode Node, byte[] Gradient, StepTotals Totals)> Delivered { get; } = [];

        public List<string> Scores { get; } = [];

        public void DeliverPartial(TreeNode node, Partial partial)
        {
            lock (Delivered)
                Delivered.Add((node, partial.Gradient.Bytes.ToArray(), partial.Totals));
            executor.Pool.Return(partial);
        }

        public void DeliverChunk(TreeNode node, Partial partial, int chunk)
        {
            (int first, int end) = chunks![chunk];
            lock (Delivered)
            {
                if (chunk == 0)
                    Delivered.Add((node, new byte[partial.Gradient.Bytes.Length], partial.Totals));
                // Only this chunk's: the rest need not be there yet.
                partial.Gradient.Bytes[(first * sizeof(float))..(end * sizeof(float))].CopyTo(Delivered.Single(other => other.Node == node).Gradient.AsMemory(first * sizeof(float)));
            }

            if (chunk == chunks.Count - 1)
                executor.Pool.Return(partial);
        }

        public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions) =>
            Scores.Add($"{block}: {lossSum:R}, {correct}, {Convert.ToHexString(predictions)}");
    }

    private sealed class ReturningSink(StepExecutor executor, VectorChunks? chunks) : IResultSink
    {
        public void DeliverPartial(TreeNode node, Partial partial) => executor.Pool.Return(partial);

        public void DeliverChunk(TreeNode node, Partial partial, int chunk)
        {
            if (chunk == chunks!.Count - 1)
                executor.Pool.Return(partial);
        }

        public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions)
        {
        }
    }
}
