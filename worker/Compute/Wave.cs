using Distributed.Engine;
using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>
/// The microbatches that a thread takes through the network at once, and the nodes of the reduction tree that they make: siblings in one
/// wave become their parent while they are computed.
/// </summary>
/// <param name="most">The most microbatches.</param>
internal sealed class Wave(int most)
{
    private readonly Microbatch[] _microbatches = new Microbatch[most];
    private readonly GradientSum[] _sums = new GradientSum[most];
    private readonly TreeNode[] _nodes = new TreeNode[most];
    private readonly int[] _samples = new int[most];
    private int _count, _nodeCount;

    public ReadOnlySpan<Microbatch> Microbatches => _microbatches.AsSpan(0, _count);

    /// <summary>What they make, in order.</summary>
    public ReadOnlySpan<TreeNode> Nodes => _nodes.AsSpan(0, _nodeCount);

    /// <summary>The nodes' sums, when each has its place.</summary>
    public ReadOnlySpan<GradientSum> Sums => _sums.AsSpan(0, _nodeCount);

    public void Clear() => _count = _nodeCount = 0;

    /// <summary>Adds a microbatch: in ascending order of their shards.</summary>
    /// <param name="target">The node that is wanted; nothing is added beyond it.</param>
    /// <param name="activeShards">The shards 0 to this have samples in the step; the ones above contribute nothing.</param>
    public void Add(int shard, int samples, TreeNode target, int activeShards)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(shard, activeShards);
        TreeNode node = WithoutSibling(TreeNode.Leaf(shard));
        int additions = 0, microbatches = 1, sum = samples;
        for (; node != target && !node.IsLeft && _nodeCount > 0 && _nodes[_nodeCount - 1] == node.Sibling; additions++)
        {
            _nodeCount--;
            microbatches += _sums[_nodeCount].Microbatches;
            sum += _samples[_nodeCount];
            node = WithoutSibling(node.Parent);
        }

        _microbatches[_count++] = new Microbatch(samples, additions);
        (_nodes[_nodeCount], _samples[_nodeCount]) = (node, sum);
        _sums[_nodeCount++] = new GradientSum(microbatches, null!);

        // What has no active sibling is its parent already.
        TreeNode WithoutSibling(TreeNode at)
        {
            while (at != target && at.IsLeft && at.Sibling.FirstShard >= activeShards)
                at = at.Parent;
            return at;
        }
    }

    /// <summary>Samples that a node is summed over.</summary>
    public int SamplesOf(int node) => _samples[node];

    /// <summary>Says where a node's gradient goes.</summary>
    public void Place(int node, VectorBuffer gradient, IBackwardObserver? observer = null) =>
        _sums[node] = _sums[node] with { Gradient = gradient, Observer = observer };
}
