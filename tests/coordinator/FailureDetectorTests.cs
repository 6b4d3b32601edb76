using Distributed.Coordinator.Members;

namespace Distributed.Tests;

public sealed class FailureDetectorTests
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1), s_timeout = TimeSpan.FromSeconds(3);

    [Fact]
    public void Worker_SilentForLongerThanTheTimeout_IsDead()
    {
        FailureDetector detector = new(s_interval, s_timeout);
        detector.Look(s_interval);
        Assert.False(detector.IsDead(s_timeout));
        Assert.True(detector.IsDead(s_timeout + TimeSpan.FromMilliseconds(1)));
    }

    [Fact]
    public void Worker_SilentWhileTheCoordinatorWasPaused_GetsTheWholeTimeoutAnew()
    {
        FailureDetector detector = new(s_interval, s_timeout);
        detector.Look(TimeSpan.FromMinutes(5));
        Assert.False(detector.IsDead(TimeSpan.FromMinutes(5)));
        detector.Look(s_interval);
        detector.Look(s_interval);
        Assert.False(detector.IsDead(TimeSpan.FromMinutes(5)));
        detector.Look(s_interval);
        Assert.True(detector.IsDead(TimeSpan.FromMinutes(5)));
    }
}
