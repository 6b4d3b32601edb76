namespace Distributed.Data;

/// <summary>
/// Which samples each shard contributes to each step: a pure function of the configuration, so that every process
/// knows it without being told. Sample i is in shard (i / m) mod V, with m = batch size / V; within an epoch a shard
/// goes through a permutation of its own samples, m at a time.
/// </summary>
public sealed class ShardPlan
{
    /// <exception cref="ArgumentException">The batch is not divisible into the shards, or there are no samples.</exception>
    public ShardPlan(int samples, int batchSize, int shards, ulong seed, bool shuffle)
    {
        if (samples < 1)
            throw new ArgumentException("there are no samples", nameof(samples));
        if (shards < 1)
            throw new ArgumentException($"shards must be at least 1, not {shards}", nameof(shards));
        if (batchSize < 1 || batchSize % shards != 0)
            throw new ArgumentException($"a batch of {batchSize} samples cannot be divided into {shards} shards", nameof(batchSize));
        Samples = samples;
        BatchSize = batchSize;
        Shards = shards;
        Seed = seed;
        Shuffle = shuffle;
    }

    public int Samples { get; }

    public int BatchSize { get; }

    /// <summary>V.</summary>
    public int Shards { get; }

    public ulong Seed { get; }

    public bool Shuffle { get; }

    /// <summary>m, the most samples that one shard contributes to a step.</summary>
    public int Microbatch => BatchSize / Shards;

    public int StepsPerEpoch => (Samples + BatchSize - 1) / BatchSize;

    /// <summary>Samples of one step, all shards together: the batch size, or less in the last step of an epoch.</summary>
    public int StepSamples(int step) => Math.Min(BatchSize, Samples - (step * BatchSize));

    /// <summary>Samples that a shard contributes to a step: m, fewer or none in the last step.</summary>
    public int MicrobatchSamples(int shard, int step) =>
        Math.Clamp(Samples - (step * BatchSize) - (shard * Microbatch), 0, Microbatch);

    /// <summary>The shards 0 to this have samples in a step; in the last step of an epoch the ones above may have none.</summary>
    public int ActiveShards(int step) => (StepSamples(step) + Microbatch - 1) / Microbatch;

    /// <summary>Number of samples in a shard.</summary>
    public int ShardSamples(int shard) =>
        ((StepsPerEpoch - 1) * Microbatch) + MicrobatchSamples(shard, StepsPerEpoch - 1);

    /// <summary>The sample in the training set that a shard holds at a position of its own, in file order.</summary>
    public int SampleAt(int shard, int position) =>
        (position / Microbatch * BatchSize) + (shard * Microbatch) + (position % Microbatch);

    /// <summary>
    /// Writes the shard's order for one epoch: positions within the shard (see <see cref="SampleAt"/>), of which step s
    /// takes [s m, s m + m). A Fisher-Yates shuffle keyed by (seed, epoch, shard), or file order when shuffling is off.
    /// </summary>
    /// <param name="order">Receives <see cref="ShardSamples"/> positions.</param>
    public void WriteOrder(int epoch, int shard, Span<int> order)
    {
        if (order.Length != ShardSamples(shard))
            throw new ArgumentException($"the order of shard {shard} has {ShardSamples(shard)} places, not {order.Length}", nameof(order));
        for (int i = 0; i < order.Length; i++)
            order[i] = i;
        if (!Shuffle)
            return;
        Philox random = new(Seed, RandomPurpose.Shuffle, (uint)epoch, (uint)shard);
        for (int i = order.Length - 1; i > 0; i--)
        {
            int j = (int)random.NextBelow((uint)i + 1);
            (order[i], order[j]) = (order[j], order[i]);
        }
    }

    /// <summary>The samples in the training set that a shard contributes to a step, in the order of their use.</summary>
    public int[] SampleNumbers(int epoch, int shard, int step)
    {
        int[] order = new int[ShardSamples(shard)];
        WriteOrder(epoch, shard, order);
        return [.. order.AsSpan(step * Microbatch, MicrobatchSamples(shard, step)).ToArray().Select(position => SampleAt(shard, position))];
    }
}
