using CsCheck;
using Distributed.Coordinator.Members;

namespace Distributed.Tests;

public sealed class MembershipTests
{
    [Theory]
    [InlineData(8, 0, "00000000")]
    [InlineData(8, 1, "11111111")]
    [InlineData(8, 2, "11112222")]
    [InlineData(8, 3, "11122233")]
    [InlineData(8, 5, "11223345")]
    [InlineData(8, 8, "12345678")]
    [InlineData(8, 9, "12345678")]
    [InlineData(5, 2, "11122")]
    [InlineData(1, 3, "1")]
    public void Leases_AreDealtOut_EvenlyAndInRanges(int shards, int workers, string expected) =>
        Assert.Equal(expected, string.Concat(Create(shards, workers).Leases));

    [Fact]
    public void Leases_WhateverTheNumbers_DifferByOneAtMost() =>
        Gen.Select(Gen.Int[1, 64], Gen.Int[1, 80]).Sample((shards, workers) =>
        {
            Membership membership = Create(shards, workers);
            int[] counts = [.. membership.Members.Select(member => membership.Leases.Count(holder => holder == member.Id)).Where(static count => count > 0)];
            return counts.Sum() == shards && counts.Max() - counts.Min() <= 1 && counts.Length == Math.Min(shards, workers);
        });

    [Fact]
    public void Join_WithATakenName_GetsANumber()
    {
        Membership membership = Membership.Create(2).Join(Member(1, "a")).Join(Member(2, "a")).Join(Member(3, "a"));
        Assert.Equal(["a", "a-2", "a-3"], membership.Members.Select(static member => member.Name));
    }

    [Fact]
    public void Join_WithoutRebalance_LeavesTheLeasesAlone()
    {
        Membership before = Create(8, 2);
        Membership after = before.Join(Member(3, "c"));
        Assert.Equal(before.Leases, after.Leases);
        Assert.Equal(before.Version + 1, after.Version);
    }

    [Fact]
    public void Leave_OfALeaseHolder_LeavesItsShardsToNobody() =>
        Assert.Equal("11100033", string.Concat(Create(8, 3).Leave(2).Leases));

    [Fact]
    public void Deal_WithASpareForOneThatLeft_LeavesTheOthersAlone() =>
        Assert.Equal("12395678", string.Concat(Create(8, 9).Leave(4).DealEvenly().Leases));

    [Fact]
    public void Deal_WithNothingToChange_IsTheSameVersion()
    {
        Membership membership = Create(8, 3);
        Assert.Same(membership, membership.DealEvenly());
    }

    private static Membership Create(int shards, int workers) =>
        Enumerable.Range(1, workers).Aggregate(Membership.Create(shards), static (membership, id) => membership.Join(Member(id, $"w{id}"))).DealEvenly();

    private static Member Member(int id, string name) => new(id, name, 1, "none", "nowhere");
}
