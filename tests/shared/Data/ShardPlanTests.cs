using CsCheck;
using Distributed.Data;

namespace Distributed.Tests.Data;

public sealed class ShardPlanTests
{
    private static readonly Gen<ShardPlan> s_plans = Gen.Select(
        Gen.Int[1, 700], Gen.Int[1, 9], Gen.Int[1, 9], Gen.ULong, Gen.Bool,
        static (samples, microbatch, shards, seed, shuffle) => new ShardPlan(samples, microbatch * shards, shards, seed, shuffle));

    [Fact]
    public void Epoch_ForAnyPlan_HasEverySampleOnce() => s_plans.Sample(static plan =>
    {
        int[] seen = new int[plan.Samples];
        for (int shard = 0; shard < plan.Shards; shard++)
        {
            int[] order = new int[plan.ShardSamples(shard)];
            plan.WriteOrder(3, shard, order);
            int position = 0;
            for (int step = 0; step < plan.StepsPerEpoch; step++)
            {
                for (int i = 0; i < plan.MicrobatchSamples(shard, step); i++)
                    seen[plan.SampleAt(shard, order[position++])]++;
            }

            Assert.Equal(order.Length, position);
        }

        Assert.All(seen, static count => Assert.Equal(1, count));
    });

    [Fact]
    public void WriteOrder_ForAnyPlan_IsPermutation() => s_plans.Sample(static plan =>
    {
        for (int shard = 0; shard < plan.Shards; shard++)
        {
            int[] order = new int[plan.ShardSamples(shard)];
            plan.WriteOrder(0, shard, order);
            Array.Sort(order);
            Assert.Equal(Enumerable.Range(0, order.Length), order);
        }
    });

    [Fact]
    public void StepSamples_ForAnyPlan_IsSumOfMicrobatches() => s_plans.Sample(static plan =>
    {
        for (int step = 0; step < plan.StepsPerEpoch; step++)
            Assert.Equal(plan.StepSamples(step), Enumerable.Range(0, plan.Shards).Sum(shard => plan.MicrobatchSamples(shard, step)));
    });

    [Fact]
    public void Step_Unshuffled_IsConsecutiveSamplesOfTheFile() => s_plans.Where(static plan => !plan.Shuffle).Sample(static plan =>
    {
        for (int step = 0; step < plan.StepsPerEpoch; step++)
        {
            List<int> samples = [];
            for (int shard = 0; shard < plan.Shards; shard++)
            {
                for (int i = 0; i < plan.MicrobatchSamples(shard, step); i++)
                    samples.Add(plan.SampleAt(shard, (step * plan.Microbatch) + i));
            }

            Assert.Equal(Enumerable.Range(step * plan.BatchSize, plan.StepSamples(step)), samples);
        }
    });

    [Fact]
    public void WriteOrder_InAnotherEpochShardOrSeed_Differs()
    {
        static int[] Order(ulong seed, int epoch, int shard)
        {
            ShardPlan plan = new(60_000, 64, 8, seed, shuffle: true);
            int[] order = new int[plan.ShardSamples(shard)];
            plan.WriteOrder(epoch, shard, order);
            return order;
        }

        int[] first = Order(1, 0, 0);
        Assert.Equal(first, Order(1, 0, 0));
        Assert.NotEqual(first, Order(2, 0, 0));
        Assert.NotEqual(first, Order(1, 1, 0));
        Assert.NotEqual(first, Order(1, 0, 1));
    }

    [Fact]
    public void Mnist_AtBatch64_Has938StepsTheLastOf32()
    {
        ShardPlan plan = new(60_000, 64, 8, 1, shuffle: true);
        Assert.Equal((938, 8, 32), (plan.StepsPerEpoch, plan.Microbatch, plan.StepSamples(937)));
    }

    [Theory]
    [InlineData(0, 64, 8)]
    [InlineData(100, 64, 0)]
    [InlineData(100, 0, 8)]
    [InlineData(100, 63, 8)]
    public void Plan_ThatCannotBe_IsRefused(int samples, int batchSize, int shards) =>
        Assert.Throws<ArgumentException>(() => new ShardPlan(samples, batchSize, shards, 1, shuffle: false));
}
