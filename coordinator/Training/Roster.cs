using System.Collections.Immutable;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Members;

namespace Distributed.Coordinator.Training;

/// <summary>
/// The current membership and the links to its members, and to those who were welcomed but are not ready yet. Used by the
/// step loop alone.
/// </summary>
internal sealed class Roster(RunDefinition run, RunJournal journal, ILogger log)
{
    private readonly Dictionary<int, Peer> _candidates = [];
    private readonly Dictionary<int, Peer> _members = [];
    private readonly LeaseBalancer _balancer = new(run.Options.Shards, Environment.ProcessorCount);
    private ImmutableArray<Member> _dealtTo = [];
    private bool _hasDealt;
    private (Membership? Of, ImmutableArray<int> Shares) _counted;

    public Membership Membership { get; private set; } = Membership.Create(run.Options.Shards);

    public int Count => Membership.Members.Length;

    /// <summary>The most workers there have been at a time.</summary>
    public int MostMembers { get; private set; }

    /// <summary>Leases that passed from one worker to another.</summary>
    public int LeasesMoved { get; private set; }

    /// <summary>Whether vectors go to any member in chunks.</summary>
    public bool TakesChunks { get; private set; }

    /// <summary>To members and candidates.</summary>
    public IEnumerable<IWorkerLink> Links => _members.Values.Concat(_candidates.Values).Select(static peer => peer.Link);

    public IWorkerLink this[int worker] => _members[worker].Link;

    /// <summary>No member will find the weights of a step ahead of its order. Others have been sent none.</summary>
    public void ForgetWeights()
    {
        foreach (Peer peer in _members.Values)
            peer.Link.ForgetWeights();
    }

    /// <summary>Null: it is no member (any more).</summary>
    public IWorkerLink? Find(int worker) => _members.GetValueOrDefault(worker)?.Link;

    public string NameOf(int worker) =>
        Membership.Find(worker)?.Name ?? _candidates.GetValueOrDefault(worker)?.Link.Member.Name ?? $"worker {worker}";

    /// <summary>The speed that a member was measured to have, if it has been for long enough.</summary>
    public WorkerSpeed? SpeedOf(int worker) => _balancer.SpeedOf(worker);

    /// <summary>Tells a worker about the run; once it is ready it is a member.</summary>
    public void Welcome(IWorkerLink link)
    {
        _candidates.Add(link.Member.Id, new Peer(link, new FailureDetector(run.Options.HeartbeatInterval, run.Options.HeartbeatTimeout)));
        link.Welcome(run, Membership.Version);
    }

    /// <summary>Takes a candidate in; false if there is none of that id (any more).</summary>
    /// <param name="sharesMemory">It has opened the shared memory that it was offered.</param>
    /// <param name="source">Where its answers turn up, if not in the inbox.</param>
    public bool Join(int worker, bool sharesMemory, out IEventSource? source)
    {
        source = null;
        if (!_candidates.Remove(worker, out Peer? peer))
            return false;
        source = peer.Link.Settle(sharesMemory);
        _members.Add(worker, peer);
        Membership = Membership.Join(peer.Link.Member);
        TakesChunks |= peer.Link.TakesChunks;
        MostMembers = Math.Max(MostMembers, Count);
        Member member = Membership.Members[^1];
        // That a run's first workers come is no news; that one comes later may be the end of a trouble.
        Log.Joined(log, _hasDealt ? LogLevel.Warning : LogLevel.Information, member.Name, member.Id, member.Threads, member.InstructionSet);
        journal.Record(JournalKind.Joined, member.Name, $"from {member.Address}, {member.Threads} thread{(member.Threads == 1 ? "" : "s")}, {member.InstructionSet}, over {member.Exchange}");
        return true;
    }

    /// <summary>A candidate cannot take part.</summary>
    public void Decline(int worker, string reason)
    {
        if (!_candidates.Remove(worker, out Peer? peer))
            return;
        Log.Refused(log, peer.Link.Member.Name, peer.Link.Member.Address, reason);
        journal.Record(JournalKind.RefusedWorker, peer.Link.Member.Name, reason);
        peer.Link.Close(reason);
    }

    /// <summary>Takes a worker out and deals its shards to the others; false if it was no member (any more).</summary>
    public bool Remove(int worker, string reason)
    {
        string name = NameOf(worker);
        if (_candidates.Remove(worker, out Peer? candidate))
        {
            Log.CandidateLost(log, name, candidate.Link.Member.Address, reason);
            journal.Record(JournalKind.Evicted, name, reason);
            candidate.Link.Close(reason);
            return false;
        }

        if (!_members.Remove(worker, out Peer? peer))
            return false;
        Log.Lost(log, name, reason);
        journal.Record(JournalKind.Evicted, name, reason);
        peer.Link.Close(reason);
        Membership = Membership.Leave(worker);
        TakesChunks = _members.Values.Any(static other => other.Link.TakesChunks);
        _balancer.Forget(worker);
        Rebalance();
        return true;
    }

    /// <summary>Those who have been silent for too long.</summary>
    /// <param name="sinceLook">Since this was last asked.</param>
    public IReadOnlyList<(int Worker, TimeSpan Silence)> FindSilent(TimeSpan sinceLook)
    {
        List<(int, TimeSpan)> silent = [];
        foreach ((int worker, Peer peer) in _members.Concat(_candidates))
        {
            if (peer.Detector.Look(sinceLook, peer.Link.Silence))
                silent.Add((worker, peer.Detector.Silence));
        }

        return silent;
    }

    /// <summary>Learns how fast the members were in a step that went undisturbed.</summary>
    /// <param name="exchange">From the first order to the last partial.</param>
    public void Measure(ReadOnlySpan<WorkerTiming> timings, TimeSpan exchange) => _balancer.Note(timings, exchange);

    /// <summary>Gives newcomers their part, and everybody what it is fast for. Between two steps, or when shards are nobody's.</summary>
    public void Rebalance()
    {
        ImmutableArray<int> before = Membership.Leases;
        if (!_dealtTo.Equals(Membership.Members))
        {
            _dealtTo = Membership.Members;
            Membership = Membership.Deal(_balancer.Deal(Membership.Members));
        }
        else if (_balancer.IsDue && _balancer.Improve(Membership.Members, Shares()) is { } shares)
        {
            Membership = Membership.Deal(shares);
            Log.Balanced(log, DescribeLeases());
        }

        if (_hasDealt)
            CountMoves(before);
        _hasDealt |= Count > 0;
    }

    /// <summary>What each member has, counted once for each membership: this is asked every few steps.</summary>
    private ImmutableArray<int> Shares()
    {
        if (_counted.Of != (object)Membership)
            _counted = (Membership, Membership.Shares());
        return _counted.Shares;
    }

    private void CountMoves(ImmutableArray<int> before)
    {
        if (before == Membership.Leases)
            return;
        int moved = 0;
        for (int shard = 0; shard < before.Length; shard++)
            moved += before[shard] != Membership.Leases[shard] ? 1 : 0;
        if (moved == 0)
            return;
        LeasesMoved += moved;
        journal.Record(JournalKind.LeasesMoved, null, $"{moved} moved: {DescribeLeases()}");
    }

    private string DescribeLeases() =>
        Count == 0 ? "nobody is there" : string.Join(", ", Membership.Members.Zip(Membership.Shares(), static (member, share) => $"{member.Name} {share}"));

    private sealed record Peer(IWorkerLink Link, FailureDetector Detector);
}
