using System.Collections.Immutable;
using Distributed.Exchange;

namespace Distributed.Coordinator.Members;

/// <summary>A worker that is in.</summary>
/// <param name="Id">Unique in the run, counted from 1; a worker that joins again gets a new one.</param>
/// <param name="Name">For people, unique among those who are in.</param>
/// <param name="InstructionSet">For people.</param>
/// <param name="Address">Where it called from.</param>
internal sealed record Member(int Id, string Name, int Threads, string InstructionSet, string Address)
{
    /// <summary>How its orders and answers travel: one of <see cref="ExchangeKind"/>'s.</summary>
    public string Exchange { get; init; } = ExchangeKind.Grpc;

    /// <summary>It is on the coordinator's host, whose cores it shares with others there, or calls through something that is.</summary>
    public bool IsNear { get; init; }
}

/// <summary>
/// Who is in and who leases which shard: immutable, and every change makes a new version. A newcomer is a member at
/// once but gets leases only when they are next dealt out, between two steps; one that leaves loses them at once.
/// </summary>
/// <param name="Version">Counted from 1.</param>
/// <param name="Members">In the order of their ids.</param>
/// <param name="Leases">For each shard the id of the worker that leases it, or <see cref="Nobody"/>.</param>
internal sealed record Membership(long Version, ImmutableArray<Member> Members, ImmutableArray<int> Leases)
{
    public const int Nobody = 0;

    /// <summary>Nobody is in yet.</summary>
    public static Membership Create(int shards) => new(1, [], [.. new int[shards]]);

    public Member? Find(int id)
    {
        foreach (Member member in Members)
        {
            if (member.Id == id)
                return member;
        }

        return null;
    }

    /// <summary>Takes a worker in, without leases; a name that is taken gets a number.</summary>
    public Membership Join(Member newcomer)
    {
        string name = newcomer.Name;
        for (int number = 2; Members.Any(member => member.Name == name); number++)
            name = $"{newcomer.Name}-{number}";
        return this with { Version = Version + 1, Members = Members.Add(newcomer with { Name = name }) };
    }

    /// <summary>Takes a worker out; its shards are nobody's.</summary>
    public Membership Leave(int id) => this with
    {
        Version = Version + 1,
        Members = Members.RemoveAll(member => member.Id == id),
        Leases = [.. Leases.Select(holder => holder == id ? Nobody : holder)],
    };

    /// <summary>How many shards each member leases.</summary>
    public ImmutableArray<int> Shares() => [.. Members.Select(member => Leases.Count(holder => holder == member.Id))];

    /// <summary>Deals the shards out anew; the same version where nothing changes.</summary>
    /// <param name="shares">How many each member gets, all shards together.</param>
    public Membership Deal(ImmutableArray<int> shares)
    {
        ImmutableArray<int> leases = LeasePlanner.Place(Leases, Members, shares);
        return leases.SequenceEqual(Leases) ? this : this with { Version = Version + 1, Leases = leases };
    }
}
