using System.Collections.Immutable;

namespace Distributed.Coordinator.Members;

/// <summary>Decides who leases what.</summary>
internal static class LeasePlanner
{
    /// <summary>
    /// Consecutive shards to each worker, as evenly as possible, the larger ranges first: those start at even places, so
    /// that most of them are single nodes of the reduction tree. Workers beyond the number of shards are spares.
    /// </summary>
    /// <returns>For each shard a worker's id, or nobody when there are no workers.</returns>
    public static ImmutableArray<int> Assign(int shards, ImmutableArray<Member> members)
    {
        ImmutableArray<int>.Builder leases = ImmutableArray.CreateBuilder<int>(shards);
        int workers = Math.Min(shards, members.Length);
        for (int rank = 0; rank < workers; rank++)
        {
            int share = (shards / workers) + (rank < shards % workers ? 1 : 0);
            for (int i = 0; i < share; i++)
                leases.Add(members[rank].Id);
        }

        while (leases.Count < shards)
            leases.Add(Membership.Nobody);
        return leases.MoveToImmutable();
    }
}
