using System.Collections.Immutable;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Members;

namespace Distributed.Coordinator.Training;

/// <summary>The current membership and the links to its members. Used by the step loop alone.</summary>
internal sealed class Roster(RunDefinition run, RunJournal journal, ILogger log)
{
    private readonly Dictionary<int, IWorkerLink> _links = [];
    private bool _hasDealt;

    public Membership Membership { get; private set; } = Membership.Create(run.Options.Shards);

    public int Count => Membership.Members.Length;

    /// <summary>The most workers there have been at a time.</summary>
    public int MostMembers { get; private set; }

    /// <summary>Leases that passed from one worker to another.</summary>
    public int LeasesMoved { get; private set; }

    public IEnumerable<IWorkerLink> Links => _links.Values;

    public IWorkerLink this[int worker] => _links[worker];

    public string NameOf(int worker) => Membership.Find(worker)?.Name ?? $"worker {worker}";

    public void Join(IWorkerLink link)
    {
        Membership = Membership.Join(link.Member);
        _links.Add(link.Member.Id, link);
        MostMembers = Math.Max(MostMembers, Count);
        link.Welcome(run, Membership.Version);
        Member member = Membership.Members[^1];
        Log.Joined(log, member.Name, member.Id, member.Threads, member.InstructionSet);
        journal.Record(JournalKind.Joined, member.Name, $"from {member.Address}, {member.Threads} thread{(member.Threads == 1 ? "" : "s")}, {member.InstructionSet}");
    }

    /// <summary>Takes a worker out and deals its shards to the others; false if it was out already.</summary>
    public bool Remove(int worker, string reason)
    {
        if (!_links.Remove(worker, out IWorkerLink? link))
            return false;
        Log.Lost(log, NameOf(worker), reason);
        journal.Record(JournalKind.Evicted, NameOf(worker), reason);
        link.Close(reason);
        Membership = Membership.Leave(worker);
        Rebalance();
        return true;
    }

    /// <summary>Gives newcomers their part. Between two steps, or when shards are nobody's.</summary>
    public void Rebalance()
    {
        ImmutableArray<int> before = Membership.Leases;
        Membership = Membership.Rebalance();
        if (_hasDealt)
            CountMoves(before);
        _hasDealt |= Count > 0;
    }

    private void CountMoves(ImmutableArray<int> before)
    {
        for (int shard = 0; shard < before.Length; shard++)
            LeasesMoved += before[shard] != Membership.Leases[shard] ? 1 : 0;
    }
}
