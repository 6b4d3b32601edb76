using System.Collections.Immutable;
using CsCheck;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Reduction;

namespace Distributed.Tests;

public sealed class LedgerTests
{
    /// <summary>Workers answer, die and join in any order: every shard is counted once and the step completes.</summary>
    [Fact]
    public void StepLedger_WithAnyOrderOfAnswersAndLosses_CountsEveryShardOnce() =>
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 6], Gen.Int[0, int.MaxValue - 1]).Sample((shards, workers, seed) =>
        {
            Random random = new(seed);
            ReductionTree tree = new(shards);
            int active = random.Next(1, shards + 1);
            StepLedger ledger = new(tree);
            Membership membership = Membership.Create(shards);
            for (int id = 1; id <= workers; id++)
                membership = membership.Join(new Member(id, $"{id}", 1, "", ""));
            membership = membership.DealEvenly();
            int[] counted = new int[shards];
            List<(int Worker, long Version, TreeNode Node)> pending = [];
            ledger.Begin(active);
            Assign();
            while (!ledger.IsComplete)
            {
                if (random.Next(4) == 0 && membership.Members.Length > 1)
                {
                    int lost = membership.Members[random.Next(membership.Members.Length)].Id;
                    membership = membership.Leave(lost).DealEvenly();
                    ledger.Lose(lost);
                    Assign();
                    continue;
                }

                int next = random.Next(pending.Count);
                (int worker, long version, TreeNode node) = pending[next];
                pending.RemoveAt(next);
                if (ledger.Accept(worker, version, node) == Verdict.Accepted)
                {
                    (int first, int end) = tree.Range(node);
                    for (int shard = first; shard < end; shard++)
                        counted[shard]++;
                }
            }

            return pending.All(late => ledger.Accept(late.Worker, late.Version, late.Node) == Verdict.Stale)
                && counted.Take(active).All(static count => count == 1);

            void Assign()
            {
                foreach (StepAssignment assignment in ledger.AssignOpen(membership))
                    pending.AddRange(assignment.Nodes.Select(node => (assignment.Worker, membership.Version, node)));
            }
        });

    [Fact]
    public void EvaluationLedger_WithAnyOrderOfBlocks_GivesTheSameSum()
    {
        ImmutableArray<int> order = [3, 0, 4, 1, 2];
        Assert.Equal(Evaluate([0, 1, 2, 3, 4]).Loss, Evaluate(order).Loss);
        Assert.Equal(45, Evaluate(order).Predictions.Length);

        static EvaluationResult Evaluate(ImmutableArray<int> order)
        {
            EvaluationLedger ledger = new(45, 10);
            Membership membership = Membership.Create(2).Join(new Member(1, "a", 1, "", "")).DealEvenly();
            ledger.Begin();
            EvaluationAssignment assignment = Assert.Single(ledger.AssignOpen(membership));
            Assert.Equal(5, assignment.Blocks.Length);
            foreach (int block in order)
            {
                (int first, int end) = ledger.Range(block);
                Assert.Equal(Verdict.Refused, ledger.Accept(1, membership.Version, block, 0, 0, new byte[end - first + 1]));
                Assert.Equal(Verdict.Refused, ledger.Accept(1, membership.Version, block, 0, end - first + 1, new byte[end - first]));
                Assert.Equal(Verdict.Accepted, ledger.Accept(1, membership.Version, block, 0.1 + block, 1, new byte[end - first]));
                Assert.Equal(Verdict.Stale, ledger.Accept(1, membership.Version, block, 0.1 + block, 1, new byte[end - first]));
            }

            Assert.True(ledger.IsComplete);
            return ledger.Sum();
        }
    }

    [Fact]
    public void Tree_WithPartialsInAnyOrder_GivesTheSameBits() =>
        Gen.Select(Gen.Int[1, 33], Gen.Int[0, int.MaxValue - 1]).Sample((shards, seed) =>
        {
            Random random = new(seed);
            int active = random.Next(1, shards + 1);
            float[] leaves = [.. Enumerable.Range(0, active).Select(_ => (float)((random.NextDouble() - 0.5) * Math.Pow(10, random.Next(-6, 6))))];
            int[] order = [.. Enumerable.Range(0, active)];
            float expected = Reduce(order);
            random.Shuffle(order);
            return BitConverter.SingleToInt32Bits(Reduce(order)) == BitConverter.SingleToInt32Bits(expected);

            float Reduce(int[] arrivals)
            {
                ReductionTree tree = new(shards);
                TreeReduction reduction = new(tree, new PartialPool(1));
                reduction.Begin(active, [tree.Root]);
                Partial? root = null;
                foreach (int shard in arrivals)
                {
                    Partial leaf = new(1);
                    leaf.Gradient.Values[0] = leaves[shard];
                    root = reduction.Offer(TreeNode.Leaf(shard), leaf, out _) ?? root;
                }

                return root!.Gradient.Values[0];
            }
        });
}
