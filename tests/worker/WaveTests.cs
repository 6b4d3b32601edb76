using CsCheck;
using Distributed.Engine;
using Distributed.Reduction;
using Distributed.Worker.Compute;

namespace Distributed.Tests;

/// <summary>What the microbatches of a wave are added to, and who takes them.</summary>
public sealed class WaveTests
{
    /// <summary>
    /// Whatever shards an order wants and wherever waves begin: each microbatch is in one node, the largest that the wave has all of, no larger than
    /// what is wanted, and added as the tree does.
    /// </summary>
    [Fact]
    public void Add_AnyOrder_MakesNodesOfTheTree() =>
        Gen.Select(Gen.Int[1, 40], Gen.Int[1, 9], Gen.Int[0, int.MaxValue]).Sample((shards, most, seed) =>
        {
            Random random = new(seed);
            ReductionTree tree = new(shards);
            int active = random.Next(1, shards + 1);
            HashSet<int> wanted = [.. Enumerable.Range(0, shards).Where(_ => random.Next(5) > 0)];
            TreeNode[] targets = [.. tree.Cover(wanted).Where(target => target.FirstShard < active)];
            random.Shuffle(targets);
            (int Shard, TreeNode Target)[] work =
                [.. targets.SelectMany(target => Enumerable.Range(target.FirstShard, Math.Min(active, tree.Range(target).End) - target.FirstShard).Select(shard => (shard, target)))];
            Wave wave = new(most);
            int next = 0;
            while (next < work.Length)
            {
                wave.Clear();
                int first = next, count = Math.Min(random.Next(1, most + 1), work.Length - next);
                for (; next < first + count; next++)
                    wave.Add(work[next].Shard, samples: work[next].Shard + 1, work[next].Target, active);
                Check(wave, work[first..next]);
            }

            void Check(Wave wave, (int Shard, TreeNode Target)[] taken)
            {
                Assert.Equal(taken.Select(static item => item.Shard + 1), wave.Microbatches.ToArray().Select(static microbatch => microbatch.Samples));
                Assert.Equal(taken.GroupBy(static item => item.Target).SelectMany(group => Largest(group.Key, [.. group.Select(static item => item.Shard)])), wave.Nodes.ToArray());
                int microbatch = 0;
                for (int i = 0; i < wave.Nodes.Length; i++)
                {
                    TreeNode node = wave.Nodes[i];
                    Stack<string> sums = [];
                    int begin = microbatch;
                    for (int end = microbatch + wave.Sums[i].Microbatches; microbatch < end; microbatch++)
                    {
                        string sum = $"{taken[microbatch].Shard}";
                        for (int addition = 0; addition < wave.Microbatches[microbatch].Additions; addition++)
                            sum = $"({sums.Pop()}+{sum})";
                        sums.Push(sum);
                    }

                    Assert.Equal(Expected(node), Assert.Single(sums));
                    Assert.Equal(taken[begin..microbatch].Sum(static item => item.Shard + 1), wave.SamplesOf(i));
                }

                Assert.Equal(taken.Length, microbatch);
            }

            // The largest nodes of which a wave has all that is active.
            IEnumerable<TreeNode> Largest(TreeNode node, HashSet<int> taken)
            {
                (int first, int end) = tree.Range(node);
                int[] shards = [.. Enumerable.Range(first, Math.Max(0, Math.Min(active, end) - first))];
                if (shards.Length == 0)
                    return [];
                if (shards.All(taken.Contains))
                    return [node];
                return node.Level == 0 ? [] : [.. Largest(node.Children.Left, taken), .. Largest(node.Children.Right, taken)];
            }

            string Expected(TreeNode node)
            {
                if (node.Level == 0)
                    return $"{node.Index}";
                (TreeNode left, TreeNode right) = node.Children;
                return right.FirstShard < active ? $"({Expected(left)}+{Expected(right)})" : Expected(left);
            }
        });

    [Fact]
    public void Take_ByManyThreads_HandsOutEachNumberOnce()
    {
        const int Threads = 4;
        WorkRanges ranges = new(Threads);
        for (int round = 0; round < 200; round++)
        {
            int[] seen = new int[round % 23];
            ranges.Reset(seen.Length);
            Parallel.For(0, Threads, thread =>
            {
                for ((int First, int Count) taken; (taken = ranges.Take(thread, most: 4)).Count > 0;)
                {
                    for (int i = taken.First; i < taken.First + taken.Count; i++)
                        Interlocked.Increment(ref seen[i]);
                }
            });
            Assert.All(seen, static count => Assert.Equal(1, count));
        }
    }

    [Fact]
    public void Take_OfOnesOwn_ComesInWavesAndOfOthersOneByOne()
    {
        WorkRanges ranges = new(2);
        ranges.Reset(12);
        Assert.Equal([(0, 4), (4, 2), (6, 1), (7, 1)], Enumerable.Range(0, 4).Select(_ => ranges.Take(0, most: 4)));
        Assert.Equal((8, 4), ranges.Take(1, most: 4));
        Assert.Equal(0, ranges.Take(1, most: 4).Count);
        Assert.Equal(0, ranges.Take(0, most: 4).Count);
    }

    /// <summary>Where waves are the fastest, all but a few orders are carried out in waves.</summary>
    [Fact]
    public void Length_WhereWavesAreFaster_StaysTheLongest()
    {
        WaveLength length = new(longest: 4, threads: 2);
        int single = Run(length, orders: 5000, static (wave, _) => wave == 4 ? 620 : 660);
        Assert.InRange(single, 7, 50);
        Assert.Equal(4, length.Current);
    }

    /// <summary>Cores of different speed: first one by one, and in waves again when they are alike.</summary>
    [Fact]
    public void Length_WhereSinglesAreFaster_BecomesOneAsLongAsTheyAre()
    {
        WaveLength length = new(longest: 4, threads: 2);
        Run(length, orders: 100, static (wave, _) => wave == 4 ? 800 : 550);
        Assert.Equal(1, length.Current);
        Run(length, orders: 900, static (wave, _) => wave == 4 ? 800 : 550);
        Assert.Equal(1, length.Current);
        Run(length, orders: 1100, static (wave, _) => wave == 4 ? 620 : 660);
        Assert.Equal(4, length.Current);
    }

    /// <summary>Something else takes a core for a moment, before a trial or in it.</summary>
    [Fact]
    public void Length_WhatHappensNowAndThen_ChangesNothing()
    {
        WaveLength length = new(longest: 4, threads: 2);
        int single = Run(length, orders: 20_000, static (wave, order) => (wave == 4 ? 620 : 660) * (order % 5 == 0 ? 20 : 1));
        Assert.InRange(single, 7, 200);
    }

    /// <summary>The last step of an epoch is smaller: its time says nothing of the others'.</summary>
    [Fact]
    public void Length_OrdersOfOtherSizes_AreNotCompared()
    {
        WaveLength length = new(longest: 4, threads: 2);
        for (int epoch = 0; epoch < 500; epoch++)
        {
            int steps = 60 + (epoch % 20);
            for (int step = 0; step < steps; step++)
            {
                bool isLast = step == steps - 1;
                length.Learn(isLast ? 4 : 8, (length.Current == 4 ? 620 : 660) / (isLast ? 2 : 1));
            }
        }

        Run(length, orders: 20, static (_, _) => 600);
        Assert.Equal(4, length.Current);
    }

    [Theory]
    [InlineData(1, 2)]
    [InlineData(4, 1)]
    public void Length_WithoutAChoice_IsTheLongest(int longest, int threads)
    {
        WaveLength length = new(longest, threads);
        Assert.Equal(longest == 1 ? 300 : 0, Run(length, orders: 300, static (wave, _) => wave == 4 ? 800 : 550));
        Assert.Equal(longest, length.Current);
    }

    /// <returns>Orders that were carried out microbatch by microbatch.</returns>
    private static int Run(WaveLength length, int orders, Func<int, int, long> duration)
    {
        int single = 0;
        for (int i = 0; i < orders; i++)
        {
            single += length.Current == 1 ? 1 : 0;
            length.Learn(microbatches: 8, duration(length.Current, i));
        }

        return single;
    }
}
