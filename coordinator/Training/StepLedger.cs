using System.Collections.Immutable;
using Distributed.Coordinator.Members;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>What a worker is to deliver: partials of these nodes.</summary>
internal sealed record StepAssignment(int Worker, ImmutableArray<TreeNode> Nodes);

/// <summary>What became of an answer.</summary>
internal enum Verdict
{
    /// <summary>It was asked for and is the first: add it.</summary>
    Accepted,

    /// <summary>Nobody waits for it: of another step or membership, or delivered before. Drop it.</summary>
    Stale,
}

/// <summary>
/// Keeps account of one step: which shards are still to be given out, which partials are awaited from whom, and which are
/// in. Decides alone; knows no clock and no network. A shard is counted exactly once, whoever computes it in the end.
/// </summary>
internal sealed class StepLedger(ReductionTree tree)
{
    private readonly Dictionary<TreeNode, (int Worker, long Version)> _awaited = [];
    private readonly HashSet<int> _open = [];
    private int _activeShards;

    // The usual case, all shards to be given out under the same membership as in the step before, is planned once.
    private (Membership? Membership, int ActiveShards, ImmutableArray<StepAssignment> Assignments) _plan;

    /// <summary>Every shard with samples has been computed and its sums are in.</summary>
    public bool IsComplete => _open.Count == 0 && _awaited.Count == 0;

    /// <summary>Starts a step.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in it.</param>
    public void Begin(int activeShards)
    {
        _activeShards = activeShards;
        _awaited.Clear();
        _open.Clear();
        for (int shard = 0; shard < activeShards; shard++)
            _open.Add(shard);
    }

    /// <summary>Gives every open shard that somebody leases to its holder.</summary>
    public ImmutableArray<StepAssignment> AssignOpen(Membership membership)
    {
        if (_open.Count == 0)
            return [];
        bool isWhole = _open.Count == _activeShards;
        ImmutableArray<StepAssignment> assignments = isWhole && _plan.Membership == (object)membership && _plan.ActiveShards == _activeShards
            ? _plan.Assignments
            : Plan(membership);
        if (isWhole)
            _plan = (membership, _activeShards, assignments);

        foreach (StepAssignment assignment in assignments)
        {
            foreach (TreeNode node in assignment.Nodes)
            {
                _awaited.Add(node, (assignment.Worker, membership.Version));
                (int first, int end) = tree.Range(node);
                for (int shard = first; shard < end; shard++)
                    _open.Remove(shard);
            }
        }

        return assignments;
    }

    /// <summary>Judges a partial by what it says of itself.</summary>
    public Verdict Accept(int worker, long membershipVersion, TreeNode node) =>
        _awaited.TryGetValue(node, out (int Worker, long Version) order) && order == (worker, membershipVersion) && _awaited.Remove(node)
            ? Verdict.Accepted
            : Verdict.Stale;

    /// <summary>Opens the shards again that a worker will not deliver any more.</summary>
    public void Lose(int worker)
    {
        foreach ((TreeNode node, (int Worker, long Version) order) in _awaited)
        {
            if (order.Worker != worker)
                continue;
            _awaited.Remove(node);
            Reopen(node);
        }
    }

    /// <summary>Opens the shards of a node again whose partial, though accepted by what it said, turned out bad.</summary>
    public void Reopen(TreeNode node)
    {
        (int first, int end) = tree.Range(node);
        for (int shard = first; shard < Math.Min(end, _activeShards); shard++)
            _open.Add(shard);
    }

    private ImmutableArray<StepAssignment> Plan(Membership membership)
    {
        ImmutableArray<StepAssignment>.Builder assignments = ImmutableArray.CreateBuilder<StepAssignment>();
        foreach (Member member in membership.Members)
        {
            HashSet<int> shards = [.. _open.Where(shard => membership.Leases[shard] == member.Id)];
            if (shards.Count > 0)
                assignments.Add(new StepAssignment(member.Id, [.. tree.Cover(shards)]));
        }

        return assignments.ToImmutable();
    }
}
