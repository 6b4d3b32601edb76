using System.Collections.Immutable;
using Distributed.Coordinator.Members;

namespace Distributed.Coordinator.Training;

/// <summary>Blocks of the test set that a worker is to score.</summary>
internal sealed record EvaluationAssignment(int Worker, ImmutableArray<int> Blocks);

/// <summary>Loss and accuracy on the test set.</summary>
/// <param name="Loss">Mean cross-entropy, in nats.</param>
/// <param name="Correct">Images whose most probable class is their label.</param>
/// <param name="Predictions">The most probable class of each image.</param>
internal sealed record EvaluationResult(double Loss, int Correct, byte[] Predictions)
{
    public double Accuracy => (double)Correct / Predictions.Length;
}

/// <summary>
/// Keeps account of one evaluation: the test set in blocks of fixed size, each scored by whoever it was given to, and
/// summed in order, so that the figure does not depend on the workers. Every image counts exactly once.
/// </summary>
internal sealed class EvaluationLedger(int samples, int blockSamples)
{
    private readonly Block[] _blocks = [.. Enumerable.Range(0, (samples + blockSamples - 1) / blockSamples).Select(static _ => new Block())];
    private readonly byte[] _predictions = new byte[samples];
    private int _missing;

    public bool IsComplete => _missing == 0;

    public void Begin()
    {
        foreach (Block block in _blocks)
            (block.Worker, block.IsIn) = (Membership.Nobody, false);
        _missing = _blocks.Length;
    }

    /// <summary>
    /// Gives every open block to somebody: consecutive ones to each member, as many as its leases say that it is fast for,
    /// or as evenly as possible where there are more members than shards.
    /// </summary>
    public ImmutableArray<EvaluationAssignment> AssignOpen(Membership membership)
    {
        int[] open = [.. Enumerable.Range(0, _blocks.Length).Where(i => !_blocks[i].IsIn && _blocks[i].Worker == Membership.Nobody)];
        int members = membership.Members.Length;
        if (open.Length == 0 || members == 0)
            return [];
        int[] weights = [.. membership.Shares().Select(share => members > membership.Leases.Length ? 1 : share)];
        int total = weights.Sum(), given = 0;
        if (total == 0)
            return [];
        ImmutableArray<EvaluationAssignment>.Builder assignments = ImmutableArray.CreateBuilder<EvaluationAssignment>();
        for (int rank = 0; rank < members; rank++)
        {
            ImmutableArray<int> share = [.. open[(given * open.Length / total)..((given + weights[rank]) * open.Length / total)]];
            given += weights[rank];
            if (share.Length == 0)
                continue;
            foreach (int block in share)
                (_blocks[block].Worker, _blocks[block].Version) = (membership.Members[rank].Id, membership.Version);
            assignments.Add(new EvaluationAssignment(membership.Members[rank].Id, share));
        }

        return assignments.ToImmutable();
    }

    /// <summary>Takes a result if it was asked for, is the first, and can be right; one that cannot leaves the block with its worker.</summary>
    public Verdict Accept(int worker, long membershipVersion, int index, double lossSum, int correct, ReadOnlySpan<byte> predictions)
    {
        if ((uint)index >= (uint)_blocks.Length)
            return Verdict.Stale;
        Block block = _blocks[index];
        (int first, int end) = Range(index);
        if (block.IsIn || block.Worker != worker || block.Version != membershipVersion)
            return Verdict.Stale;
        if (predictions.Length != end - first || correct < 0 || correct > end - first)
            return Verdict.Refused;
        (block.IsIn, block.LossSum, block.Correct) = (true, lossSum, correct);
        predictions.CopyTo(_predictions.AsSpan(first));
        _missing--;
        return Verdict.Accepted;
    }

    /// <summary>Whether blocks are awaited from a worker.</summary>
    public bool IsOwedBy(int worker) => _blocks.Any(block => !block.IsIn && block.Worker == worker);

    /// <summary>Opens the blocks again that a worker will not deliver any more.</summary>
    public void Lose(int worker)
    {
        foreach (Block block in _blocks)
        {
            if (!block.IsIn && block.Worker == worker)
                block.Worker = Membership.Nobody;
        }
    }

    /// <summary>The samples [first, end) of a block.</summary>
    public (int First, int End) Range(int block) => (block * blockSamples, Math.Min((block + 1) * blockSamples, samples));

    /// <summary>The outcome, once complete.</summary>
    public EvaluationResult Sum()
    {
        double lossSum = 0;
        int correct = 0;
        foreach (Block block in _blocks)
        {
            lossSum += block.LossSum;
            correct += block.Correct;
        }

        return new EvaluationResult(lossSum / samples, correct, [.. _predictions]);
    }

    private sealed class Block
    {
        public int Worker { get; set; }

        public long Version { get; set; }

        public bool IsIn { get; set; }

        public double LossSum { get; set; }

        public int Correct { get; set; }
    }
}
