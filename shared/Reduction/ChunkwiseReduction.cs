namespace Distributed.Reduction;

/// <summary>
/// Adds the partials of one step along the tree chunk by chunk, each chunk as soon as every partial has it. The partials stay
/// as they are until the step is over, so that a chunk can be added again when one of them is replaced.
/// </summary>
/// <param name="pool">Where the partials go in the end.</param>
/// <param name="precision">What the gradient of every node is rounded to; those of the partials are.</param>
public sealed class ChunkwiseReduction(ReductionTree tree, VectorChunks chunks, PartialPool pool, WirePrecision precision = WirePrecision.Float32)
{
    private readonly Dictionary<TreeNode, (Partial Partial, int Chunks)> _arrived = [];

    // One for each level, made when first needed: a right child's sums while its parent is added.
    private readonly float[]?[] _rights = new float[tree.Root.Level + 1][];
    private int _activeShards;

    /// <summary>How many chunks every partial has: those can be added.</summary>
    public int Available => AvailableAt(tree.Root);

    /// <summary>Starts a step; the last one has ended.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in the step; the ones above contribute nothing.</param>
    public void Begin(int activeShards) => _activeShards = activeShards;

    /// <summary>Forgets the step, all of whose partials are whole, and gives them back.</summary>
    public void End()
    {
        foreach ((Partial partial, _) in _arrived.Values)
            pool.Return(partial);
        _arrived.Clear();
    }

    /// <summary>More of a node's sums is in.</summary>
    /// <param name="partial">The reduction's once it has all of its chunks.</param>
    /// <param name="count">How many are in, by now.</param>
    public void Note(TreeNode node, Partial partial, int count) => _arrived[node] = (partial, count);

    /// <summary>A node will not be completed: it is as if nothing of it had come.</summary>
    public void Remove(TreeNode node) => _arrived.Remove(node);

    /// <summary>Adds a chunk that is <see cref="Available"/>.</summary>
    /// <param name="sum">P values, of which the chunk's are written.</param>
    public void Add(int chunk, Span<float> sum)
    {
        (int first, int end) = chunks[chunk];
        Add(tree.Root, first, sum[first..end]);
    }

    /// <summary>The loss and the counts of the step, added along the tree as the gradients are.</summary>
    public StepTotals AddCounts() => AddCounts(tree.Root);

    private int AvailableAt(TreeNode node)
    {
        if (_arrived.TryGetValue(node, out (Partial Partial, int Chunks) arrived))
            return arrived.Chunks;
        if (node.Level == 0)
            return 0;
        (TreeNode left, TreeNode right) = node.Children;
        return right.FirstShard < _activeShards ? Math.Min(AvailableAt(left), AvailableAt(right)) : AvailableAt(left);
    }

    private void Add(TreeNode node, int first, Span<float> sum)
    {
        if (_arrived.TryGetValue(node, out (Partial Partial, int Chunks) arrived))
        {
            arrived.Partial.Gradient.Values.Slice(first, sum.Length).CopyTo(sum);
            return;
        }

        (TreeNode left, TreeNode right) = node.Children;
        Add(left, first, sum);
        if (right.FirstShard >= _activeShards)
            return;
        if (_arrived.TryGetValue(right, out arrived))
        {
            PartialSum.Add(sum, arrived.Partial.Gradient.Values.Slice(first, sum.Length), precision);
            return;
        }

        Span<float> other = (_rights[node.Level] ??= new float[Math.Min(chunks.Size, chunks.Length)]).AsSpan(0, sum.Length);
        Add(right, first, other);
        PartialSum.Add(sum, other, precision);
    }

    private StepTotals AddCounts(TreeNode node)
    {
        if (_arrived.TryGetValue(node, out (Partial Partial, int Chunks) arrived))
            return arrived.Partial.Totals;
        (TreeNode left, TreeNode right) = node.Children;
        return right.FirstShard < _activeShards ? AddCounts(left) + AddCounts(right) : AddCounts(left);
    }
}
