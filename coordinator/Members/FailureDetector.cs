namespace Distributed.Coordinator.Members;

/// <summary>
/// Tells a dead worker from a slow machine. Looks are to follow one another at the heartbeat's interval; one that comes
/// late says that this very process got no time (an overloaded machine, a suspended laptop), and then silence may be its
/// own: it counts only from there. Takes durations, owns no timer.
/// </summary>
/// <param name="interval">From look to look.</param>
/// <param name="timeout">Silence after which a worker is taken for dead.</param>
internal sealed class FailureDetector(TimeSpan interval, TimeSpan timeout)
{
    private TimeSpan _sinceLate = TimeSpan.MaxValue / 2;

    /// <summary>A look is due.</summary>
    /// <param name="sinceLast">Since the look before.</param>
    public void Look(TimeSpan sinceLast) => _sinceLate = sinceLast > interval * 1.5 ? TimeSpan.Zero : _sinceLate + sinceLast;

    /// <summary>Whether a worker is to be given up that has been silent for so long.</summary>
    public bool IsDead(TimeSpan silence) => silence > timeout && _sinceLate >= timeout;
}
