using CsCheck;
using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

/// <summary>The sum of a step depends neither on who adds nor on what is sent, with rounding as without.</summary>
public sealed class TreeReductionTests
{
    private const int Parameters = 37;

    [Theory]
    [InlineData(WirePrecision.Float32)]
    [InlineData(WirePrecision.Bf16)]
    public void Sum_WhoeverHoldsWhichShards_IsThatOfTheTree(WirePrecision precision) =>
        Gen.Select(Gen.Int[1, 9], Gen.Int[1, 4], Gen.Int[0, 1_000_000]).Sample((shards, workers, seed) =>
        {
            ReductionTree tree = new(shards);
            Random random = new(seed);
            int active = random.Next(1, shards + 1);
            float[][] leaves = [.. Enumerable.Range(0, active).Select(_ => Enumerable.Range(0, Parameters).Select(_ => (random.NextSingle() - 0.5f) * MathF.Pow(2, random.Next(-12, 12))).ToArray())];
            int[] holders = [.. leaves.Select(_ => random.Next(workers))];
            PartialPool pool = new(Parameters);
            TreeReduction coordinator = new(tree, pool, precision);
            coordinator.Begin(active, [tree.Root]);
            Partial? root = null;
            foreach (int worker in Enumerable.Range(0, workers).OrderBy(_ => random.Next()))
            {
                int[] held = [.. Enumerable.Range(0, active).Where(shard => holders[shard] == worker)];
                TreeNode[] nodes = [.. tree.Cover(held.ToHashSet())];
                TreeReduction local = new(tree, pool, precision);
                local.Begin(active, nodes);
                foreach (int shard in held.OrderBy(_ => random.Next()))
                {
                    Partial leaf = pool.Rent();
                    leaves[shard].CopyTo(leaf.Gradient.Values);
                    if (local.Offer(TreeNode.Leaf(shard), leaf, out TreeNode node) is not { } sent)
                        continue;
                    Assert.True(precision == WirePrecision.Float32 || Bfloat16.FindOther(sent.Gradient.Values) < 0, $"{node} would be sent unrounded");
                    root = coordinator.Offer(node, sent, out _) ?? root;
                }
            }

            return root!.Gradient.Values.SequenceEqual(Expected(tree, tree.Root, leaves, precision));
        });

    /// <summary>The tree as it is defined; null: no shard below has samples.</summary>
    private static float[]? Expected(ReductionTree tree, TreeNode node, float[][] leaves, WirePrecision precision)
    {
        (int first, _) = tree.Range(node);
        if (first >= leaves.Length)
            return null;
        float[] left = node.Level == 0 ? [.. leaves[first]] : Expected(tree, new TreeNode(node.Level - 1, node.Index * 2), leaves, precision)!;
        if (node.Level > 0 && Expected(tree, new TreeNode(node.Level - 1, (node.Index * 2) + 1), leaves, precision) is { } right)
            left = [.. left.Zip(right, static (a, b) => a + b)];
        if (precision == WirePrecision.Bf16)
            Bfloat16.Round(left);
        return left;
    }
}
