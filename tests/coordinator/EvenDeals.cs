using Distributed.Coordinator.Members;

namespace Distributed.Tests;

internal static class EvenDeals
{
    /// <summary>Deals the shards out as evenly as possible.</summary>
    public static Membership DealEvenly(this Membership membership) =>
        membership.Deal(LeasePlanner.ShareEvenly(membership.Leases.Length, membership.Members.Length));
}
