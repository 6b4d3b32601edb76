namespace Distributed.Reduction;

/// <summary>A way to add other than <see cref="Partial.Add"/>, with its bits.</summary>
public interface IPartialAddition
{
    /// <summary>Makes the left child its parent.</summary>
    void Add(Partial left, Partial right, WirePrecision precision);
}

/// <summary>
/// Adds the partials of one step along the tree, in whatever order they come: as soon as both children of a node are
/// there, they become the node. Thread-safe; an addition is made outside the lock by the thread that brought the second child.
/// </summary>
public sealed class TreeReduction
{
    private readonly ReductionTree _tree;
    private readonly PartialPool _pool;
    private readonly WirePrecision _precision;
    private readonly Lock _lock = new();

    // Both by level, then index: where a level starts is in _levelStarts.
    private readonly Partial?[] _waiting;
    private readonly bool[] _isTarget;
    private readonly int[] _levelStarts;
    private int _activeShards;

    /// <param name="tree">The tree over the shards.</param>
    /// <param name="pool">Where a right child goes once it is added.</param>
    /// <param name="precision">
    /// What the gradient of every node is rounded to, the microbatches' and the root's included, whether or not it is ever sent:
    /// so the sum does not depend on who adds.
    /// </param>
    public TreeReduction(ReductionTree tree, PartialPool pool, WirePrecision precision = WirePrecision.Float32)
    {
        _tree = tree;
        _pool = pool;
        _precision = precision;
        _levelStarts = new int[tree.Root.Level + 1];
        int nodes = 0;
        for (int level = 0; level <= tree.Root.Level; level++)
        {
            _levelStarts[level] = nodes;
            nodes += ((tree.Shards - 1) >> level) + 1;
        }

        _waiting = new Partial?[nodes];
        _isTarget = new bool[nodes];
    }

    /// <summary>Forgets the last step and starts one.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in the step; the ones above contribute nothing.</param>
    /// <param name="targets">The nodes that are wanted; none below another.</param>
    public void Begin(int activeShards, ReadOnlySpan<TreeNode> targets)
    {
        lock (_lock)
        {
            for (int i = 0; i < _waiting.Length; i++)
            {
                if (_waiting[i] is { } left)
                    _pool.Return(left);
                _waiting[i] = null;
                _isTarget[i] = false;
            }

            foreach (TreeNode target in targets)
                _isTarget[Position(target)] = true;
            _activeShards = activeShards;
        }
    }

    /// <summary>Brings a node's sums, and their ownership.</summary>
    /// <param name="node">A node at or below a target.</param>
    /// <param name="partial">Its sums.</param>
    /// <param name="completed">The target that this completed.</param>
    /// <param name="addition">The calling thread's; null: <see cref="Partial.Add"/>.</param>
    /// <returns>The completed target's sums, now the caller's, or null when more is missing.</returns>
    /// <exception cref="InvalidOperationException">The node lies below no target.</exception>
    public Partial? Offer(TreeNode node, Partial partial, out TreeNode completed, IPartialAddition? addition = null)
    {
        bool isSum = false;
        while (true)
        {
            Partial? sibling = null;
            lock (_lock)
            {
                while (!_isTarget[Position(node)] && node != _tree.Root && node.Sibling.FirstShard >= _activeShards)
                    node = node.Parent;
                completed = node;
                if (!_isTarget[Position(node)])
                {
                    if (node == _tree.Root)
                        throw new InvalidOperationException($"nobody asked for {node}");
                    ref Partial? waiting = ref _waiting[Position(node.Sibling)];
                    if (waiting is null)
                    {
                        _waiting[Position(node)] = partial;
                        return null;
                    }

                    sibling = waiting;
                    waiting = null;
                }
            }

            if (sibling is null)
            {
                // A sum is rounded, and so were its children.
                if (_precision == WirePrecision.Bf16 && !isSum)
                    Bfloat16.Round(partial.Gradient.Values);
                return partial;
            }

            (Partial left, Partial right) = node.IsLeft ? (partial, sibling) : (sibling, partial);
            if (addition is null)
                left.Add(right, _precision);
            else
                addition.Add(left, right, _precision);
            isSum = true;
            _pool.Return(right);
            partial = left;
            node = node.Parent;
        }
    }

    private int Position(TreeNode node) => _levelStarts[node.Level] + node.Index;
}
