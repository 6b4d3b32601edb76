namespace Distributed.Tests;

public sealed class FailureDetectorTests
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(0.5), s_timeout = TimeSpan.FromSeconds(3);

    private readonly FailureDetector _detector = new(s_interval, s_timeout);

    [Fact]
    public void Peer_SilentFromOneMomentOn_IsGivenUpWithinTheTimeout()
    {
        Assert.False(_detector.Look(s_interval, TimeSpan.FromSeconds(0.1)));
        int looks = 1;
        while (!_detector.Look(s_interval, TimeSpan.FromSeconds(0.1) + (s_interval * looks)))
            looks++;
        TimeSpan silence = TimeSpan.FromSeconds(0.1) + (s_interval * looks);
        Assert.InRange(silence, s_timeout - s_interval, s_timeout);
        Assert.Equal(silence, _detector.Silence);
    }

    [Fact]
    public void Peer_HeardNowAndThen_LivesForever()
    {
        for (int look = 0; look < 1000; look++)
            Assert.False(_detector.Look(s_interval, s_interval * (look % 4 * 0.99)));
    }

    [Fact]
    public void Peer_SilentWhileThisProcessWasPaused_IsLookedAtAnew()
    {
        TimeSpan pause = TimeSpan.FromMinutes(5);
        Assert.False(_detector.Look(s_interval, TimeSpan.Zero));
        Assert.False(_detector.Look(pause, pause * 0.99));
        Assert.False(_detector.Look(s_interval, TimeSpan.Zero));
        Assert.False(_detector.Look(pause, pause));
        Assert.True(_detector.Silence < s_timeout / 2);
    }

    [Fact]
    public void Peer_SilentOnAMachineWhereEveryLookIsLate_IsGivenUpAllTheSame()
    {
        TimeSpan late = s_interval * 4;
        int looks = 1;
        while (!_detector.Look(late, late * looks))
            looks++;
        Assert.InRange(looks, 2, 6);
    }
}
