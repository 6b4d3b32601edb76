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
    /// <param name="members">Who they are, where near ones are not to use more than <paramref name="cores"/>.</param>
    /// <param name="cores">Threads of near members that may have shards; but one member may be as large as it is.</param>
    public static void ShareBySpeed(int shards, ReadOnlySpan<WorkerSpeed> speeds, Span<int> shares, ImmutableArray<Member> members = default, int cores = int.MaxValue)
    {
        shares.Clear();
        int threads = 0;
        for (int shard = 0; shard < shards; shard++)
        {
            // Among those that would have it back at the same time, the faster; among equals, the first.
            int best = 0;
            (double Seconds, double Round) least = (double.MaxValue, double.MaxValue);
            for (int rank = 0; rank < speeds.Length; rank++)
            {
                if (shares[rank] == 0 && threads > 0 && ThreadsNear(rank) > Math.Max(0, cores - threads))
                    continue;
                (double Seconds, double Round) offer = (speeds[rank].Predict(shares[rank] + 1), speeds[rank].Round);
                if (offer.CompareTo(least) < 0)
                    (best, least) = (rank, offer);
            }

            threads += shares[best] == 0 ? ThreadsNear(best) : 0;
            shares[best]++;
        }

        int ThreadsNear(int rank) => !members.IsDefault && members[rank].IsNear ? members[rank].Threads : 0;
    }

    /// <summary>What near workers have, to as few of them, the first, as there are cores for; the others of them get nothing.</summary>
    /// <param name="shares">What each member has.</param>
    /// <param name="cores">Of the host that all near members share.</param>
    /// <param name="fewer">Gets what each is to have instead.</param>
    /// <returns>False if they are few enough.</returns>
    public static bool ShareAmongFewer(ImmutableArray<Member> members, ImmutableArray<int> shares, int cores, Span<int> fewer)
    {
        int end = 0, threads = 0, shards = 0;
        for (; end < members.Length && (threads == 0 || !IsInUse(end) || threads + ThreadsInUse(end) <= cores); end++)
            threads += ThreadsInUse(end);
        for (int rank = 0; rank < members.Length; rank++)
        {
            shards += IsInUse(rank) ? shares[rank] : 0;
            fewer[rank] = IsInUse(rank) ? 0 : shares[rank];
        }

        for (; shards > 0; shards--)
        {
            (int Rounds, int Rank) best = (int.MaxValue, 0);
            for (int rank = 0; rank < end; rank++)
            {
                if (IsInUse(rank) && WorkerSpeed.Rounds(fewer[rank] + 1, members[rank].Threads) is var rounds && rounds < best.Rounds)
                    best = (rounds, rank);
            }

            fewer[best.Rank]++;
        }

        return end < members.Length;

        bool IsInUse(int rank) => members[rank].IsNear && shares[rank] > 0;

        int ThreadsInUse(int rank) => IsInUse(rank) ? members[rank].Threads : 0;
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
