using System.Collections.Immutable;
using Distributed.Coordinator.Members;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>What a worker is to deliver: partials of these nodes.</summary>
/// <param name="Shards">How many shards with samples they cover.</param>
internal sealed record StepAssignment(int Worker, int Shards, ImmutableArray<TreeNode> Nodes);

/// <summary>What became of an answer.</summary>
internal enum Verdict
{
    /// <summary>It was asked for and is the first: add it.</summary>
    Accepted,

    /// <summary>It was asked for, and the rest of it is to come.</summary>
    Begun,

    /// <summary>Nobody waits for it: of another step or membership, or delivered before. Drop it.</summary>
    Stale,

    /// <summary>It was asked for and cannot be right.</summary>
    Refused,
}

/// <summary>
/// Keeps account of one step: which shards are still to be given out, which partials are awaited from whom, and which are
/// in. Decides alone; knows no clock and no network. A shard is counted exactly once, whoever computes it in the end.
/// </summary>
internal sealed class StepLedger(ReductionTree tree)
{
    private readonly Dictionary<TreeNode, (int Worker, long Version)> _awaited = [];
    private readonly HashSet<int> _open = [];

    // Nodes that are in, and from whom.
    private readonly Dictionary<TreeNode, int> _delivered = [];

    // Shards of which a partial was refused in this step, and whose it was.
    private readonly Dictionary<int, int> _refused = [];
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
        _refused.Clear();
        _delivered.Clear();
        for (int shard = 0; shard < activeShards; shard++)
            _open.Add(shard);
    }

    /// <summary>
    /// Gives every open shard that somebody leases to its holder. One of which a partial was refused goes to another, if
    /// there is another, and by itself, so that what is wrong with it shows to the shard.
    /// </summary>
    public ImmutableArray<StepAssignment> AssignOpen(Membership membership)
    {
        if (_open.Count == 0)
            return [];
        bool isWhole = _open.Count == _activeShards && _refused.Count == 0;
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

    /// <summary>Whether a worker owes a partial under this membership.</summary>
    public bool IsAwaited(int worker, long membershipVersion, TreeNode node) =>
        _awaited.TryGetValue(node, out (int Worker, long Version) order) && order == (worker, membershipVersion);

    /// <summary>Judges a partial by what it says of itself; once accepted, it is in.</summary>
    public Verdict Accept(int worker, long membershipVersion, TreeNode node)
    {
        if (!IsAwaited(worker, membershipVersion, node))
            return Verdict.Stale;
        _awaited.Remove(node);
        _delivered[node] = worker;
        return Verdict.Accepted;
    }

    /// <summary>
    /// Whether a worker that sends a stale partial has done something else than it was ordered: it still owes others, and
    /// has not merely repeated itself.
    /// </summary>
    public bool Strays(int worker, TreeNode node) =>
        _awaited.Values.Any(order => order.Worker == worker) && !(_delivered.TryGetValue(node, out int sender) && sender == worker);

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

    /// <summary>The worker whose partial over any of these shards was refused before in this step; null if none was.</summary>
    public int? FindRefused(TreeNode node)
    {
        (int first, int end) = tree.Range(node);
        for (int shard = first; shard < end; shard++)
        {
            if (_refused.TryGetValue(shard, out int worker))
                return worker;
        }

        return null;
    }

    /// <summary>Opens the shards of a node again whose partial, though accepted by what it said, turned out bad.</summary>
    public void Refuse(TreeNode node, int worker)
    {
        (int first, int end) = tree.Range(node);
        for (int shard = first; shard < Math.Min(end, _activeShards); shard++)
            _refused[shard] = worker;
        Reopen(node);
    }

    /// <summary>
    /// A good partial of a shard that was refused before is in. Returns the worker that the bad one came from once all of
    /// its bad ones are made good by others: then the fault was its own.
    /// </summary>
    public int? FindCulprit(TreeNode node, int worker)
    {
        if (!_refused.Remove(node.FirstShard, out int suspect))
            return null;
        return suspect != worker && !_refused.ContainsValue(suspect) ? suspect : null;
    }

    private void Reopen(TreeNode node)
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
            HashSet<int> shards = [.. _open.Where(shard => !_refused.ContainsKey(shard) && membership.Leases[shard] == member.Id)];
            TreeNode[] again = [.. _refused.Keys.Where(shard => _open.Contains(shard) && FindOther(membership, shard) == member.Id).Order().Select(TreeNode.Leaf)];
            if (shards.Count + again.Length > 0)
                assignments.Add(new StepAssignment(member.Id, shards.Count + again.Length, [.. tree.Cover(shards), .. again]));
        }

        return assignments.ToImmutable();
    }

    /// <summary>Who is to compute a shard of which a partial was refused.</summary>
    private int FindOther(Membership membership, int shard)
    {
        int holder = membership.Leases[shard];
        if (holder != _refused[shard])
            return holder;
        return membership.Members.FirstOrDefault(member => member.Id != holder)?.Id ?? holder;
    }
}
