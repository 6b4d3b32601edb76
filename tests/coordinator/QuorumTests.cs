using Distributed.Coordinator.Local;
using Distributed.Coordinator.Members;

namespace Distributed.Tests;

public sealed class QuorumTests
{
    private readonly Quorum _quorum = new(TimeSpan.FromMinutes(10));

    [Fact]
    public void Quorum_AsWorkersComeAndGo_SaysWhenItChanges()
    {
        (int Members, QuorumChange Expected)[] table =
        [
            (0, QuorumChange.None), (1, QuorumChange.None), (2, QuorumChange.Regained), (3, QuorumChange.None),
            (2, QuorumChange.None), (1, QuorumChange.Lost), (0, QuorumChange.None), (5, QuorumChange.Regained),
        ];
        foreach ((int members, QuorumChange expected) in table)
        {
            Assert.Equal(expected, _quorum.Look(members, 2, TimeSpan.Zero));
            Assert.Equal(members >= 2, _quorum.IsMet);
        }
    }

    [Fact]
    public void Quorum_MissingForTooLong_IsGivenUp()
    {
        Assert.False(_quorum.IsGivenUp(TimeSpan.FromMinutes(10)));
        Assert.True(_quorum.IsGivenUp(TimeSpan.FromMinutes(10.1)));
        _quorum.Look(2, 2, TimeSpan.FromMinutes(10.1));
        Assert.False(_quorum.IsGivenUp(TimeSpan.FromDays(10)));
        _quorum.Look(1, 2, TimeSpan.FromDays(10));
        Assert.False(_quorum.IsGivenUp(TimeSpan.FromDays(10)));
        Assert.True(_quorum.IsGivenUp(TimeSpan.FromDays(11)));
    }

    [Theory]
    [InlineData(3, 137, false, true)]
    [InlineData(3, 137, true, true)]
    [InlineData(3, 139, true, true)]
    [InlineData(3, 1, true, true)]
    [InlineData(3, 1, false, false)]
    [InlineData(3, 2, false, false)]
    [InlineData(3, null, true, false)]
    [InlineData(0, 137, true, false)]
    public void LocalWorker_ThatEnds_IsReplacedUnlessItWouldEndAgain(int maxRestarts, int? exitCode, bool hasServed, bool expected) =>
        Assert.Equal(expected, new RestartPolicy(maxRestarts).Replaces(exitCode, hasServed));

    [Fact]
    public void LocalWorkers_ThatGoOnDying_AreReplacedSoOftenAndNoMore()
    {
        RestartPolicy policy = new(3);
        Assert.Equal([true, true, true, false, false], Enumerable.Range(0, 5).Select(_ => policy.Replaces(137, true)));
        Assert.Equal(3, policy.Restarts);
    }
}
