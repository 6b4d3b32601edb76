using System.Diagnostics;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>Takes what a step brought forth. Called on compute threads, several at a time.</summary>
internal interface IResultSink
{
    /// <summary>A node asked for is complete.</summary>
    /// <param name="partial">The sink's from now on; it goes back to <see cref="StepExecutor.Pool"/> when done with.</param>
    void DeliverPartial(TreeNode node, Partial partial);

    /// <summary>A chunk of a node asked for is complete; its chunks come in order.</summary>
    /// <param name="partial">All counts, and the gradient up to this chunk; with the last chunk it is the sink's, as above.</param>
    /// <param name="chunk">From 0.</param>
    void DeliverChunk(TreeNode node, Partial partial, int chunk);

    /// <summary>A block of the test set is scored.</summary>
    /// <param name="predictions">One class a sample; the sink's from now on.</param>
    void DeliverBlock(int block, double lossSum, int correct, byte[] predictions);
}

/// <summary>
/// Computes the orders of the coordinator: microbatches are handed out to the threads, several neighbours at once, and their sums go
/// up the reduction tree as they come, so that a leased range leaves as few partials.
/// </summary>
internal sealed unsafe class StepExecutor : IDisposable
{
    private readonly Network _network;
    private readonly ShardPlan _plan;
    private readonly ReductionTree _tree;
    private readonly TreeReduction _reduction;
    private readonly OverlappedReduction? _overlap;
    private readonly ShardStore _shards;
    private readonly TestStore _tests;
    private readonly ComputePool _threads;

    // Kept, so that a step allocates nothing.
    private readonly Action<ComputeThread> _trainJob;
    private readonly Action<ComputeThread> _evaluateJob;
    private readonly Func<ComputeThread, bool> _helpToAdd;
    private readonly WirePrecision _precision;

    // The shards of the order, and the nodes that they are wanted for.
    private readonly int[] _work;
    private readonly TreeNode[] _targets;
    private readonly WorkRanges _ranges;
    private readonly WaveLength _waveLength;

    // The weights of the step, while it runs.
    private float* _weights;

    private IReadOnlyList<int> _blocks = [];
    private IResultSink _sink = null!;
    private int _epoch;
    private int _step;
    private int _activeShards;
    private int _mostInAWave;

    /// <param name="pool">Where partials are kept; null: in this process's own memory.</param>
    /// <param name="precision">What every node of the tree is rounded to.</param>
    /// <param name="chunks">How partials are delivered, each chunk as soon as it is complete; null: whole.</param>
    public StepExecutor(
        Network network,
        ShardPlan plan,
        ShardStore shards,
        TestStore tests,
        int threads,
        PartialPool? pool = null,
        WirePrecision precision = WirePrecision.Float32,
        VectorChunks? chunks = null)
    {
        _network = network;
        _plan = plan;
        _shards = shards;
        _tests = tests;
        _tree = new ReductionTree(plan.Shards);
        Pool = pool ?? new PartialPool(network.Model.ParameterCount);
        _reduction = new TreeReduction(_tree, Pool, precision);
        _overlap = chunks is null ? null : new OverlappedReduction(_tree, chunks, Pool, precision);
        _threads = new ComputePool(network, threads);
        foreach (ComputeThread thread in _threads.Members)
        {
            thread.Reductions =
                [.. Enumerable.Range(0, network.WaveMicrobatches).Select(_ => _overlap?.CreateNode() ?? new WholeReduction(this, thread))];
        }

        _precision = precision;
        _work = new int[plan.Shards];
        _targets = new TreeNode[plan.Shards];
        _ranges = new WorkRanges(threads);
        _waveLength = new WaveLength(network.WaveMicrobatches, threads);
        _trainJob = Train;
        _evaluateJob = Evaluate;
        _helpToAdd = HelpToAdd;
    }

    /// <summary>The wave to compile a network for: as many microbatches as a thread gets of all shards, or as are useful.</summary>
    public static int WaveFor(ShardPlan plan, int threads) => Math.Min((plan.Shards + threads - 1) / threads, Network.LongestUsefulWave);

    /// <summary>Where partials come from and go back to.</summary>
    public PartialPool Pool { get; }

    /// <summary>The threads that compute, for work of others between two orders.</summary>
    public ComputePool Threads => _threads;

    /// <summary>Compiles every kernel and touches every thread's memory before the first order comes.</summary>
    public void WarmUp()
    {
        VectorBuffer weights = new(_network.Model.ParameterCount);
        _threads.Run(thread =>
        {
            fixed (float* pointer = weights.Values)
                thread.Executor.Network.Prepare(pointer);
            thread.Wave.Clear();
            for (int i = 0; i < _network.WaveMicrobatches; i++)
                thread.Wave.Add(i, _network.Microbatch, _tree.Root, _tree.Shards);
            List<Partial> partials = [];
            for (int i = 0; i < thread.Wave.Nodes.Length; i++)
            {
                partials.Add(Pool.Rent());
                thread.Wave.Place(i, partials[i].Gradient);
            }

            thread.Executor.Images.Clear();
            thread.Executor.Train(thread.Wave.Microbatches, thread.Wave.Sums, thread.Labels, thread.SampleNumbers, _plan.Seed, 0, _precision);
            thread.Executor.Evaluate(thread.Labels, new byte[thread.Labels.Length]);
            foreach (Partial partial in partials)
                Pool.Return(partial);
        });
    }

    /// <summary>Computes the partials of one order and delivers each as soon as it is complete.</summary>
    /// <param name="weights">P parameters.</param>
    /// <param name="epoch">From 0.</param>
    /// <param name="step">Within the epoch, from 0.</param>
    /// <param name="nodes">The nodes to deliver, each with samples in the step.</param>
    /// <exception cref="InvalidOperationException">The data of a shard is missing.</exception>
    public void Train(ReadOnlySpan<float> weights, int epoch, int step, ReadOnlySpan<TreeNode> nodes, IResultSink sink)
    {
        int active = _plan.ActiveShards(step);
        int count = 0;
        foreach (TreeNode node in nodes)
        {
            (int first, int end) = _tree.Range(node);
            for (int shard = first; shard < Math.Min(end, active); shard++)
            {
                if (!_shards.IsComplete(shard))
                    throw new InvalidOperationException($"the data of shard {shard} is not complete");
                (_work[count], _targets[count++]) = (shard, node);
            }
        }

        if (_overlap is null)
            _reduction.Begin(active, nodes);
        else
            _overlap.Begin(active, nodes, sink);
        (_epoch, _step, _activeShards) = (epoch, step, active);
        _ranges.Reset(count);
        _mostInAWave = _waveLength.Current;
        long start = Stopwatch.GetTimestamp();
        // Chunks are every thread's already.
        Run(_trainJob, _overlap is null ? _helpToAdd : null, weights, sink);
        _waveLength.Learn(count, Stopwatch.GetTimestamp() - start);
    }

    /// <summary>Scores blocks of the test set and delivers each as soon as it is done.</summary>
    public void Evaluate(ReadOnlySpan<float> weights, IReadOnlyList<int> blocks, IResultSink sink)
    {
        _blocks = blocks;
        _ranges.Reset(blocks.Count);
        Run(_evaluateJob, meanwhile: null, weights, sink);
    }

    public void Dispose() => _threads.Dispose();

    private void Run(Action<ComputeThread> job, Func<ComputeThread, bool>? meanwhile, ReadOnlySpan<float> weights, IResultSink sink)
    {
        if (weights.Length != _network.Model.ParameterCount)
            throw new ArgumentException($"expected {_network.Model.ParameterCount} weights, not {weights.Length}", nameof(weights));
        _sink = sink;
        fixed (float* pointer = weights)
        {
            _weights = pointer;
            _threads.Run(job, meanwhile);
        }
    }

    private void Train(ComputeThread thread)
    {
        Executor executor = thread.Executor;
        (int First, int Count) taken = _ranges.Take(thread.Index, _mostInAWave);
        if (taken.Count > 0)
            executor.Network.Prepare(_weights);
        for (; taken.Count > 0; taken = _ranges.Take(thread.Index, _mostInAWave))
            TrainWave(thread, taken.First, taken.Count);
    }

    private void TrainWave(ComputeThread thread, int first, int microbatches)
    {
        Executor executor = thread.Executor;
        Wave wave = thread.Wave;
        int samples = 0;
        wave.Clear();
        for (int i = first; i < first + microbatches; i++)
        {
            int count = _shards.Gather(
                _work[i], _epoch, _step, executor.Images[(samples * _network.Model.Input.Length)..], thread.Labels.AsSpan(samples), thread.SampleNumbers.AsSpan(samples));
            wave.Add(_work[i], count, _targets[i], _activeShards);
            samples += count;
        }

        for (int i = 0; i < wave.Nodes.Length; i++)
        {
            Partial partial = Pool.Rent();
            thread.Reductions[i].Begin(wave.Nodes[i], partial, wave.SamplesOf(i));
            wave.Place(i, partial.Gradient, thread.Reductions[i]);
        }

        executor.Train(
            wave.Microbatches, wave.Sums, thread.Labels.AsSpan(0, samples), thread.SampleNumbers.AsSpan(0, samples), _plan.Seed, _epoch, _precision);
    }

    /// <summary>Takes part in the additions of threads that are not done.</summary>
    private bool HelpToAdd(ComputeThread thread)
    {
        bool helped = false;
        for (int i = 0; i < _threads.Threads; i++)
            helped |= _threads.Members[i].Addition!.AddParts(thread.Addition!.IsFromFront);
        return helped;
    }

    private void Evaluate(ComputeThread thread)
    {
        Executor executor = thread.Executor;
        (int First, int Count) taken = _ranges.Take(thread.Index, 1);
        if (taken.Count > 0)
            executor.Network.Prepare(_weights);
        for (; taken.Count > 0; taken = _ranges.Take(thread.Index, 1))
            Evaluate(executor, _blocks[taken.First]);
    }

    private void Evaluate(Executor executor, int block)
    {
        int imageLength = _network.Model.Input.Length;
        (byte[] images, byte[] labels) = _tests.Get(block);
        byte[] predictions = new byte[labels.Length];
        MicrobatchResult sum = default;
        for (int first = 0; first < labels.Length; first += _network.WaveSamples)
        {
            int samples = Math.Min(_network.WaveSamples, labels.Length - first);
            PixelScaling.Scale(images.AsSpan(first * imageLength, samples * imageLength), executor.Images[..(samples * imageLength)]);
            sum = executor.Evaluate(labels.AsSpan(first, samples), predictions.AsSpan(first, samples), sum);
        }

        _sink.DeliverBlock(block, sum.LossSum, sum.Correct, predictions);
    }

    /// <summary>A node whose gradient is offered to the tree when all of it is complete.</summary>
    private sealed class WholeReduction(StepExecutor executor, ComputeThread thread) : INodeReduction
    {
        private Partial _partial = null!;
        private TreeNode _node;

        public void Begin(TreeNode node, Partial partial, int samples)
        {
            (_node, _partial) = (node, partial);
            partial.Samples = samples;
        }

        public void Complete(in MicrobatchResult result, int first)
        {
            if (first > 0)
                return;
            (_partial.LossSum, _partial.Correct) = (result.LossSum, result.Correct);
            if (executor._reduction.Offer(_node, _partial, out TreeNode node, thread.Addition) is { } complete)
                executor._sink.DeliverPartial(node, complete);
        }
    }
}
