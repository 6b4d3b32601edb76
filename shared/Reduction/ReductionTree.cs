namespace Distributed.Reduction;

/// <summary>
/// A node of the fixed binary tree over the shards 0..V-1: at level l and index i it covers the shards
/// [i 2^l, (i + 1) 2^l), cut off at V.
/// </summary>
public readonly record struct TreeNode(int Level, int Index)
{
    public int FirstShard => Index << Level;

    public TreeNode Parent => new(Level + 1, Index >> 1);

    public TreeNode Sibling => new(Level, Index ^ 1);

    /// <summary>Of a node above the leaves. The right one may lie beyond the last shard.</summary>
    public (TreeNode Left, TreeNode Right) Children => (new(Level - 1, Index * 2), new(Level - 1, (Index * 2) + 1));

    public bool IsLeft => (Index & 1) == 0;

    /// <summary>One number for a node, for messages.</summary>
    public ulong Code => ((ulong)(uint)Level << 32) | (uint)Index;

    public static TreeNode Leaf(int shard) => new(0, shard);

    /// <summary>The node of a <see cref="Code"/>; what is none's makes a node of no tree.</summary>
    public static TreeNode FromCode(ulong code) => new((int)(code >> 32), (int)(uint)code);

    public override string ToString() => Level == 0 ? $"shard {Index}" : $"shards {FirstShard}..{FirstShard + (1 << Level) - 1}";
}

/// <summary>
/// The one order in which partials are added, whoever adds them: parent = left + right. A node none of whose shards
/// has samples in a step contributes nothing, and its sibling passes through unchanged; so the sum depends on the
/// step alone, not on the leases.
/// </summary>
public sealed class ReductionTree
{
    /// <param name="shards">V, at least 1; not necessarily a power of two.</param>
    public ReductionTree(int shards)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(shards, 1);
        Shards = shards;
        int level = 0;
        while (1 << level < shards)
            level++;
        Root = new TreeNode(level, 0);
    }

    public int Shards { get; }

    public TreeNode Root { get; }

    /// <summary>The shards [first, end) that a node covers.</summary>
    public (int First, int End) Range(TreeNode node) =>
        (Math.Min(node.FirstShard, Shards), (int)Math.Min((long)(node.Index + 1) << node.Level, Shards));

    /// <summary>The fewest nodes that together cover exactly the given shards, left to right.</summary>
    public IReadOnlyList<TreeNode> Cover(IReadOnlySet<int> shards)
    {
        List<TreeNode> cover = [];
        Visit(Root);
        return cover;

        void Visit(TreeNode node)
        {
            (int first, int end) = Range(node);
            int held = 0;
            for (int shard = first; shard < end; shard++)
                held += shards.Contains(shard) ? 1 : 0;
            if (held == 0)
                return;
            if (held == end - first)
            {
                cover.Add(node);
                return;
            }

            (TreeNode left, TreeNode right) = node.Children;
            Visit(left);
            Visit(right);
        }
    }
}
