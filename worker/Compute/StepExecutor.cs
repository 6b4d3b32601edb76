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
/// Computes the orders of the coordinator: microbatches are handed out to the threads shard by shard, and their sums go
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
    private readonly int[] _work;
    private readonly WorkRanges _ranges;

    // The weights of the step, while it runs.
    private float* _weights;

    private IReadOnlyList<int> _blocks = [];
    private IResultSink _sink = null!;
    private int _epoch;
    private int _step;

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
            thread.Overlap = _overlap?.CreateMicrobatch();
        _work = new int[plan.Shards];
        _ranges = new WorkRanges(threads);
        _trainJob = Train;
        _evaluateJob = Evaluate;
        _helpToAdd = HelpToAdd;
    }

    /// <summary>Where partials come from and go back to.</summary>
    public PartialPool Pool { get; }

    /// <summary>The threads that compute, for work of others between two orders.</summary>
    public ComputePool Threads => _threads;

    /// <summary>Compiles every kernel and touches every thread's memory before the first order comes.</summary>
    public void WarmUp()
    {
        float[] weights = new float[_network.Model.ParameterCount];
        _threads.Run(thread =>
        {
            thread.Executor.Network.Prepare(weights);
            Partial partial = Pool.Rent();
            thread.Executor.Images.Clear();
            thread.Executor.Train(thread.Labels, thread.SampleNumbers, _plan.Seed, 0, partial.Gradient.Values);
            thread.Executor.Evaluate(thread.Labels, new byte[thread.Labels.Length]);
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
                _work[count++] = shard;
            }
        }

        if (_overlap is null)
            _reduction.Begin(active, nodes);
        else
            _overlap.Begin(active, nodes, sink);
        _epoch = epoch;
        _step = step;
        // Chunks are every thread's already.
        Run(_trainJob, _overlap is null ? _helpToAdd : null, weights, count, sink);
    }

    /// <summary>Scores blocks of the test set and delivers each as soon as it is done.</summary>
    public void Evaluate(ReadOnlySpan<float> weights, IReadOnlyList<int> blocks, IResultSink sink)
    {
        _blocks = blocks;
        Run(_evaluateJob, meanwhile: null, weights, blocks.Count, sink);
    }

    public void Dispose() => _threads.Dispose();

    private void Run(Action<ComputeThread> job, Func<ComputeThread, bool>? meanwhile, ReadOnlySpan<float> weights, int count, IResultSink sink)
    {
        if (weights.Length != _network.Model.ParameterCount)
            throw new ArgumentException($"expected {_network.Model.ParameterCount} weights, not {weights.Length}", nameof(weights));
        _ranges.Reset(count);
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
        int taken = _ranges.Take(thread.Index);
        if (taken >= 0)
            executor.Network.Prepare(new ReadOnlySpan<float>(_weights, _network.Model.ParameterCount));
        for (; taken >= 0; taken = _ranges.Take(thread.Index))
        {
            int shard = _work[taken];
            int samples = _shards.Gather(shard, _epoch, _step, executor.Images, thread.Labels, thread.SampleNumbers);
            Partial partial = Pool.Rent();
            thread.Overlap?.Begin(shard, partial, samples);
            MicrobatchResult result = executor.Train(
                thread.Labels.AsSpan(0, samples), thread.SampleNumbers.AsSpan(0, samples), _plan.Seed, _epoch, partial.Gradient.Values, thread.Overlap);
            if (thread.Overlap is not null)
                continue;
            partial.LossSum = result.LossSum;
            partial.Correct = result.Correct;
            partial.Samples = samples;
            if (_reduction.Offer(TreeNode.Leaf(shard), partial, out TreeNode node, thread.Addition) is { } complete)
                _sink.DeliverPartial(node, complete);
        }
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
        int imageLength = _network.Model.Input.Length;
        int taken = _ranges.Take(thread.Index);
        if (taken >= 0)
            executor.Network.Prepare(new ReadOnlySpan<float>(_weights, _network.Model.ParameterCount));
        for (; taken >= 0; taken = _ranges.Take(thread.Index))
        {
            (byte[] images, byte[] labels) = _tests.Get(_blocks[taken]);
            byte[] predictions = new byte[labels.Length];
            double lossSum = 0;
            int correct = 0;
            for (int first = 0; first < labels.Length; first += _network.Microbatch)
            {
                int samples = Math.Min(_network.Microbatch, labels.Length - first);
                PixelScaling.Scale(images.AsSpan(first * imageLength, samples * imageLength), executor.Images[..(samples * imageLength)]);
                MicrobatchResult result = executor.Evaluate(labels.AsSpan(first, samples), predictions.AsSpan(first, samples));
                lossSum += result.LossSum;
                correct += result.Correct;
            }

            _sink.DeliverBlock(_blocks[taken], lossSum, correct, predictions);
        }
    }
}
