using System.Collections.Immutable;

namespace Distributed.Coordinator.Members;

/// <summary>Decides who leases what.</summary>
internal static class LeasePlanner
{
    /// <summary>As even as possible. Workers beyond the number of shards are spares.</summary>
    /// <returns>How many shards each worker gets.</returns>
    public static ImmutableArray<int> ShareEvenly(int shards, int workers) =>
        [.. Enumerable.Range(0, workers).Select(rank => (shards / workers) + (rank < shards % workers ? 1 : 0))];

    /// <summary>
    /// So that the last answer is back as early as can be: one shard after the other goes to the worker that would have it
    /// back first, which is optimal where more shards never take less time.
    /// </summary>
    /// <param name="speeds">One a worker.</param>
    /// <param name="shares">Gets how many shards each of them is to have.</param>
    public static void ShareBySpeed(int shards, ReadOnlySpan<WorkerSpeed> speeds, Span<int> shares)
    {
        shares.Clear();
        for (int shard = 0; shard < shards; shard++)
        {
            // Among those that would have it back at the same time, the faster; among equals, the first.
            int best = 0;
            (double Seconds, double Round) least = (double.MaxValue, double.MaxValue);
            for (int rank = 0; rank < speeds.Length; rank++)
            {
                (double Seconds, double Round) offer = (speeds[rank].Predict(shares[rank] + 1), speeds[rank].Round);
                if (offer.CompareTo(least) < 0)
                    (best, least) = (rank, offer);
            }

            shares[best]++;
        }
    }

    /// <summary>
    /// Consecutive shards to each worker, the larger ranges first: those start at even places, so that most of them are
    /// few nodes of the reduction tree. Among equals everybody stays where it was, and newcomers take what is nobody's.
    /// </summary>
    /// <param name="before">For each shard a worker's id, or nobody.</param>
    /// <param name="shares">How many shards each member gets, all shards together.</param>
    /// <returns>For each shard a worker's id, or nobody when there are no workers.</returns>
    public static ImmutableArray<int> Place(ImmutableArray<int> before, ImmutableArray<Member> members, ImmutableArray<int> shares)
    {
        int vacancy = before.IndexOf(Membership.Nobody);
        int[] places = [.. members.Select(member => before.IndexOf(member.Id) is >= 0 and int place ? place : vacancy >= 0 ? vacancy : before.Length)];
        ImmutableArray<int>.Builder leases = ImmutableArray.CreateBuilder<int>(before.Length);
        foreach (int rank in Enumerable.Range(0, members.Length).OrderByDescending(rank => shares[rank]).ThenBy(rank => places[rank]))
        {
            for (int i = 0; i < shares[rank]; i++)
                leases.Add(members[rank].Id);
        }

        while (leases.Count < before.Length)
            leases.Add(Membership.Nobody);
        return leases.MoveToImmutable();
    }
}
