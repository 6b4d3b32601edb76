namespace Distributed.Reduction;

/// <summary>
/// Adds the partials of one step along the tree chunk by chunk, each chunk as soon as every partial has it. The partials stay
/// as they are until the step is over, so that a chunk can be added again when one of them is replaced. Not thread-safe, but that
/// several threads may <see cref="Add(int, Span{float}, ChunkScratch)"/> different chunks while partials that are there get more of theirs;
/// none may come or go meanwhile.
/// </summary>
/// <param name="pool">Where the partials go in the end.</param>
/// <param name="precision">What the gradient of every node is rounded to; those of the partials are.</param>
public sealed class ChunkwiseReduction(ReductionTree tree, VectorChunks chunks, PartialPool pool, WirePrecision precision = WirePrecision.Float32)
{
    private readonly Dictionary<TreeNode, Arrival> _arrived = [];
    private readonly Stack<Arrival> _unused = [];
    private TreeNode _target = tree.Root;
    private int _activeShards;

    /// <summary>How many chunks every partial has: those can be added.</summary>
    public int Available => AvailableAt(_target);

    /// <summary>The first partial, left of all others: what is added of a chunk may be put in that chunk's place in it.</summary>
    public Partial Leftmost
    {
        get
        {
            TreeNode node = _target;
            while (!_arrived.ContainsKey(node))
                node = node.Children.Left;
            return _arrived[node].Partial!;
        }
    }

    /// <summary>Starts a step; the last one has ended.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in the step; the ones above contribute nothing.</param>
    /// <param name="target">The node that is wanted; null: the root.</param>
    public void Begin(int activeShards, TreeNode? target = null) => (_activeShards, _target) = (activeShards, target ?? tree.Root);

    /// <summary>Forgets the step, all of whose partials are whole, and gives them back.</summary>
    /// <param name="kept">One that is not given back.</param>
    public void End(Partial? kept = null)
    {
        foreach (Arrival arrival in _arrived.Values)
        {
            if (arrival.Partial != kept)
                pool.Return(arrival.Partial!);
            Forget(arrival);
        }

        _arrived.Clear();
    }

    /// <summary>More of a node's sums is in.</summary>
    /// <param name="partial">The reduction's once it has all of its chunks.</param>
    /// <param name="count">How many are in, by now.</param>
    public void Note(TreeNode node, Partial partial, int count)
    {
        if (!_arrived.TryGetValue(node, out Arrival? arrival))
        {
            arrival = _unused.TryPop(out Arrival? unused) ? unused : new Arrival();
            _arrived.Add(node, arrival);
        }

        (arrival.Partial, arrival.Chunks) = (partial, count);
    }

    /// <summary>A node will not be completed: it is as if nothing of it had come.</summary>
    public void Remove(TreeNode node)
    {
        if (_arrived.Remove(node, out Arrival? arrival))
            Forget(arrival);
    }

    /// <summary>Takes out a node that has all its chunks; null if there is none.</summary>
    public Partial? TakeWhole(TreeNode node)
    {
        if (!_arrived.TryGetValue(node, out Arrival? arrival) || arrival.Chunks < chunks.Count)
            return null;
        Partial partial = arrival.Partial!;
        Remove(node);
        return partial;
    }

    /// <summary>Adds a chunk that is <see cref="Available"/>.</summary>
    /// <param name="sum">P values, of which the chunk's are written.</param>
    /// <param name="scratch">The calling thread's.</param>
    public void Add(int chunk, Span<float> sum, ChunkScratch scratch)
    {
        (int first, int end) = chunks[chunk];
        Add(_target, first, sum[first..end], scratch);
    }

    /// <summary>The loss and the counts of the target, added along the tree as the gradients are.</summary>
    public StepTotals AddCounts() => AddCounts(_target);

    private int AvailableAt(TreeNode node)
    {
        if (_arrived.TryGetValue(node, out Arrival? arrived))
            return arrived.Chunks;
        if (node.Level == 0)
            return 0;
        (TreeNode left, TreeNode right) = node.Children;
        return right.FirstShard < _activeShards ? Math.Min(AvailableAt(left), AvailableAt(right)) : AvailableAt(left);
    }

    private void Add(TreeNode node, int first, Span<float> sum, ChunkScratch scratch)
    {
        if (_arrived.TryGetValue(node, out Arrival? arrived))
        {
            arrived.Partial!.Gradient.Values.Slice(first, sum.Length).CopyTo(sum);
            return;
        }

        (TreeNode left, TreeNode right) = node.Children;
        Add(left, first, sum, scratch);
        if (right.FirstShard >= _activeShards)
            return;
        if (_arrived.TryGetValue(right, out arrived))
        {
            PartialSum.Add(sum, arrived.Partial!.Gradient.Values.Slice(first, sum.Length), precision);
            return;
        }

        Span<float> other = scratch.Of(node.Level, sum.Length);
        Add(right, first, other, scratch);
        PartialSum.Add(sum, other, precision);
    }

    private StepTotals AddCounts(TreeNode node)
    {
        if (_arrived.TryGetValue(node, out Arrival? arrived))
            return arrived.Partial!.Totals;
        (TreeNode left, TreeNode right) = node.Children;
        return right.FirstShard < _activeShards ? AddCounts(left) + AddCounts(right) : AddCounts(left);
    }

    private void Forget(Arrival arrival)
    {
        arrival.Partial = null;
        _unused.Push(arrival);
    }

    /// <summary>A node of which something has come.</summary>
    private sealed class Arrival
    {
        public Partial? Partial { get; set; }

        public int Chunks { get; set; }
    }
}

/// <summary>Where a thread that adds chunks keeps a right child's sums while its parent is added: room for each level, made when first needed.</summary>
public sealed class ChunkScratch(ReductionTree tree, VectorChunks chunks)
{
    private readonly float[]?[] _levels = new float[tree.Root.Level + 1][];

    internal Span<float> Of(int level, int length) => (_levels[level] ??= new float[Math.Min(chunks.Size, chunks.Length)]).AsSpan(0, length);
}
