using Distributed.Engine;
using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>
/// Adds microbatches, and nodes that a thread computes in one wave, along the tree while they are still on their way back through the
/// network: the last layers' gradients, most of a vector, are complete long before the first layers', and travel meanwhile. What all of
/// them below a wanted node have of a chunk is added and delivered, by whichever thread finds it; those that are done before the last
/// have come so far are added whole, as <see cref="TreeReduction"/> does, so that few are kept.
/// </summary>
/// <param name="precision">What the gradient of every node is rounded to.</param>
internal sealed class OverlappedReduction(ReductionTree tree, VectorChunks chunks, PartialPool pool, WirePrecision precision)
{
    private readonly Lock _lock = new();
    private readonly List<Target> _targets = [];
    private readonly Target[] _targetOfShard = new Target[tree.Shards];
    private readonly Stack<ChunkScratch> _scratches = [];
    private int _activeShards;
    private IResultSink _sink = null!;

    /// <summary>Starts an order; the last one is done.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in the step; the ones above contribute nothing.</param>
    /// <param name="nodes">The nodes that are wanted; none below another.</param>
    public void Begin(int activeShards, ReadOnlySpan<TreeNode> nodes, IResultSink sink)
    {
        _activeShards = activeShards;
        _sink = sink;
        for (int i = 0; i < nodes.Length; i++)
        {
            if (i == _targets.Count)
                _targets.Add(new Target(new ChunkwiseReduction(tree, chunks, pool, precision), chunks.Count));
            _targets[i].Begin(activeShards, nodes[i]);
            (int first, int end) = tree.Range(nodes[i]);
            _targetOfShard.AsSpan(first..end).Fill(_targets[i]);
        }
    }

    /// <summary>What a thread needs to take part with one node after the other; it may have several under way.</summary>
    public INodeReduction CreateNode() => new NodeReduction(this);

    private void Complete(NodeReduction reduction, in MicrobatchResult result, int first)
    {
        (TreeNode node, Partial partial, Range news) = reduction.Advance(result, first);
        if (precision == WirePrecision.Bf16)
            Bfloat16.Round(partial.Gradient.Values[news]);
        int count = chunks.CountFrom(first);
        if (count == 0)
            return;
        Target target = _targetOfShard[node.FirstShard];
        bool isStaged;
        lock (_lock)
        {
            target.Reduction.Note(node, partial, count);
            isStaged = target.Look();
        }

        if (isStaged || (count == chunks.Count && AddWhole(target, node, partial)))
            AddChunks(target);
    }

    /// <summary>Adds a whole node to its sibling if that is whole, too, and so on upwards.</summary>
    /// <returns>Whether chunks can be added from here on, by now.</returns>
    private bool AddWhole(Target target, TreeNode node, Partial partial)
    {
        while (true)
        {
            Partial? sibling = null;
            lock (_lock)
            {
                if (target.IsStaged)
                    return true;
                // Its sibling's thread may have taken it as soon as it was noted, and then adds it and goes on upwards.
                if (target.Reduction.TakeWhole(node) is null)
                    return false;
                bool hasSibling = node.Sibling.FirstShard < _activeShards;
                if (hasSibling && (sibling = target.Reduction.TakeWhole(node.Sibling)) is null)
                {
                    target.Reduction.Note(node, partial, chunks.Count);
                    return false;
                }
            }

            if (sibling is not null)
            {
                (Partial left, Partial right) = node.IsLeft ? (partial, sibling) : (sibling, partial);
                left.Add(right, precision);
                pool.Return(right);
                partial = left;
            }

            node = node.Parent;
            lock (_lock)
            {
                target.Reduction.Note(node, partial, chunks.Count);
                if (target.Look())
                    return true;
            }
        }
    }

    /// <summary>Adds and delivers what is there and nobody else has taken up.</summary>
    private void AddChunks(Target target)
    {
        ChunkScratch? scratch = null;
        while (true)
        {
            int chunk;
            lock (_lock)
            {
                if (target.Taken >= target.Reduction.Available)
                    break;
                chunk = target.Taken++;
                scratch ??= _scratches.TryPop(out ChunkScratch? used) ? used : new ChunkScratch(tree, chunks);
            }

            target.Reduction.Add(chunk, target.Sum!.Gradient.Values, scratch);
            lock (_lock)
                target.Deliver(chunk, _sink);
        }

        if (scratch is not null)
        {
            lock (_lock)
                _scratches.Push(scratch);
        }
    }

    /// <summary>One thread's: a node that it computes, as far as it has come.</summary>
    private sealed class NodeReduction(OverlappedReduction reduction) : INodeReduction
    {
        private Partial _partial = null!;
        private TreeNode _node;
        private int _samples;
        private int _first;

        public void Begin(TreeNode node, Partial partial, int samples)
        {
            (_node, _partial, _samples) = (node, partial, samples);
            _first = partial.Gradient.Length;
        }

        public void Complete(in MicrobatchResult result, int first) => reduction.Complete(this, result, first);

        internal (TreeNode Node, Partial Partial, Range News) Advance(in MicrobatchResult result, int first)
        {
            // Once: the sums of others may be added to this partial while it is still under way.
            if (_first == _partial.Gradient.Length)
                (_partial.LossSum, _partial.Correct, _partial.Samples) = (result.LossSum, result.Correct, _samples);
            Range news = first.._first;
            _first = first;
            return (_node, _partial, news);
        }
    }

    /// <summary>A node that is wanted, and how far it is.</summary>
    private sealed class Target(ChunkwiseReduction reduction, int chunks)
    {
        private readonly bool[] _isAdded = new bool[chunks];
        private TreeNode _node;
        private int _delivered;

        public ChunkwiseReduction Reduction { get; } = reduction;

        /// <summary>Where the chunks' sums are put: null until the first can be added, from when on no partials are added whole.</summary>
        public Partial? Sum { get; private set; }

        public bool IsStaged => Sum is not null;

        /// <summary>Chunks that are added, or being added.</summary>
        public int Taken { get; set; }

        public void Begin(int activeShards, TreeNode node)
        {
            Reduction.Begin(activeShards, node);
            _node = node;
            Sum = null;
            Taken = _delivered = 0;
            Array.Clear(_isAdded);
        }

        /// <summary>Whether chunks can be added, by now.</summary>
        public bool Look()
        {
            if (IsStaged || Reduction.Available == 0)
                return IsStaged;
            Sum = Reduction.Leftmost;
            (Sum.LossSum, Sum.Correct, Sum.Samples) = Reduction.AddCounts();
            return true;
        }

        /// <summary>A chunk is added: delivers it when those before it are, too.</summary>
        public void Deliver(int chunk, IResultSink sink)
        {
            _isAdded[chunk] = true;
            while (_delivered < chunks && _isAdded[_delivered])
            {
                if (_delivered == chunks - 1)
                    Reduction.End(kept: Sum);
                sink.DeliverChunk(_node, Sum!, _delivered++);
            }
        }
    }
}
