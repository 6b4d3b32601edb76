using CsCheck;
using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

public sealed class ChunkwiseReductionTests
{
    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(1, 1000, 1)]
    [InlineData(16, 16, 1)]
    [InlineData(17, 16, 2)]
    [InlineData(93_322, 16_384, 6)]
    [InlineData(100, 17, 4)]
    [InlineData(100, int.MaxValue, 1)]
    public void Chunks_OfAnyVector_CoverItFromItsEndToItsStart(int length, int size, int count)
    {
        VectorChunks chunks = new(length, size);
        Assert.Equal(count, chunks.Count);
        int end = length;
        for (int chunk = 0; chunk < chunks.Count; chunk++)
        {
            Assert.Equal(end, chunks[chunk].End);
            Assert.InRange(chunks[chunk].End - chunks[chunk].First, 1, chunks.Size);
            Assert.Equal(0, chunks[chunk].First % 16);
            end = chunks[chunk].First;
        }

        Assert.Equal(0, end);
        Assert.Throws<ArgumentOutOfRangeException>(() => chunks[chunks.Count]);
        Assert.Throws<ArgumentOutOfRangeException>(() => chunks[-1]);
    }

    /// <summary>However the shards are divided and in whatever order chunks come, each sum has the bits of the tree's.</summary>
    [Fact]
    public void Sums_ChunkByChunk_HaveTheBitsOfTheTree() =>
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 90], Gen.Int[1, 40], Gen.Bool, Gen.Int[0, int.MaxValue]).Sample((shards, length, size, isBfloat16, seed) =>
        {
            Random random = new(seed);
            int active = random.Next(1, shards + 1);
            WirePrecision precision = isBfloat16 ? WirePrecision.Bf16 : WirePrecision.Float32;
            ReductionTree tree = new(shards);
            VectorChunks chunks = new(length, size);
            PartialPool pool = new(length);
            Partial[] leaves = [.. Enumerable.Range(0, active).Select(_ => CreatePartial(length, random))];
            Partial expected = Sum(tree, pool, precision, active, leaves, tree.Root);

            ChunkwiseReduction reduction = new(tree, chunks, pool, precision);
            ChunkScratch scratch = new(tree, chunks);
            reduction.Begin(active);
            List<TreeNode> nodes = [.. Divide(tree, active, random)];
            Dictionary<TreeNode, (Partial Sum, int Chunks)> arrived = nodes.ToDictionary(static node => node, node => (Sum(tree, pool, precision, active, leaves, node), 0));
            float[] sum = new float[length];
            int done = 0;
            while (nodes.Count > 0)
            {
                int next = random.Next(nodes.Count);
                TreeNode node = nodes[next];
                (Partial partial, int came) = arrived[node];
                arrived[node] = (partial, ++came);
                // Only what is said to be there is looked at.
                Partial seen = new(length);
                seen.Gradient.Values.Fill(float.NaN);
                for (int chunk = 0; chunk < came; chunk++)
                    partial.Gradient.Values[chunks[chunk].First..chunks[chunk].End].CopyTo(seen.Gradient.Values[chunks[chunk].First..]);
                (seen.LossSum, seen.Correct, seen.Samples) = (partial.LossSum, partial.Correct, partial.Samples);
                reduction.Note(node, seen, came);
                if (came == chunks.Count)
                    nodes.RemoveAt(next);
                for (; done < reduction.Available; done++)
                    reduction.Add(done, sum, scratch);
            }

            Assert.Equal(chunks.Count, done);
            Assert.Equal(expected.Gradient.Values.ToArray().Select(BitConverter.SingleToInt32Bits), sum.Select(BitConverter.SingleToInt32Bits));
            Assert.Equal(expected.Totals, reduction.AddCounts());
        });

    [Fact]
    public void Node_ThatIsRemoved_IsAwaitedAgainFromOthers()
    {
        ReductionTree tree = new(4);
        PartialPool pool = new(32);
        VectorChunks chunks = new(32, 16);
        ChunkwiseReduction reduction = new(tree, chunks, pool);
        ChunkScratch scratch = new(tree, chunks);
        reduction.Begin(4);
        Random random = new(1);
        Partial[] leaves = [.. Enumerable.Range(0, 4).Select(_ => CreatePartial(32, random))];
        Partial Of(TreeNode node) => Sum(tree, pool, WirePrecision.Float32, 4, leaves, node);
        (TreeNode left, TreeNode right) = tree.Root.Children;
        reduction.Note(left, Of(left), 2);
        reduction.Note(right, CreatePartial(32, random), 1);
        Assert.Equal(1, reduction.Available);
        float[] sum = new float[32];
        reduction.Add(0, sum, scratch);
        reduction.Remove(right);
        Assert.Equal(0, reduction.Available);
        foreach (int shard in (int[])[3, 2])
            reduction.Note(TreeNode.Leaf(shard), Of(TreeNode.Leaf(shard)), 2);
        Assert.Equal(2, reduction.Available);
        reduction.Add(0, sum, scratch);
        reduction.Add(1, sum, scratch);
        Assert.Equal(Of(tree.Root).Gradient.Values.ToArray(), sum);
    }

    private static Partial CreatePartial(int length, Random random)
    {
        Partial partial = new(length) { LossSum = random.NextDouble(), Correct = random.Next(9), Samples = 8 };
        foreach (ref float value in partial.Gradient.Values)
            value = (float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-20, 20)));
        return partial;
    }

    /// <summary>What one holder of all shards below a node makes of them.</summary>
    private static Partial Sum(ReductionTree tree, PartialPool pool, WirePrecision precision, int active, Partial[] leaves, TreeNode target)
    {
        TreeReduction reduction = new(tree, pool, precision);
        reduction.Begin(active, [target]);
        (int first, int end) = tree.Range(target);
        Partial? sum = null;
        for (int shard = first; shard < Math.Min(end, active); shard++)
        {
            Partial leaf = new(leaves[shard].Gradient.Length) { LossSum = leaves[shard].LossSum, Correct = leaves[shard].Correct, Samples = leaves[shard].Samples };
            leaves[shard].Gradient.Values.CopyTo(leaf.Gradient.Values);
            sum = reduction.Offer(TreeNode.Leaf(shard), leaf, out _) ?? sum;
        }

        return sum!;
    }

    /// <summary>Nodes that cover the active shards, as many holders may deliver them.</summary>
    private static IEnumerable<TreeNode> Divide(ReductionTree tree, int active, Random random)
    {
        int holders = random.Next(1, 5);
        ILookup<int, int> shards = Enumerable.Range(0, active).ToLookup(_ => random.Next(holders));
        return shards.SelectMany(held => tree.Cover(held.ToHashSet()));
    }
}
