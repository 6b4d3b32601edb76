namespace Distributed;

/// <summary>
/// Tells a dead peer from a slow one; one for each peer, used by both sides of the wire. Looks are to follow one another
/// at the heartbeat's interval. A look that comes late says that this very process got no time (an overloaded machine, a
/// suspended laptop), and that the peer's heartbeats may lie unread: of such a gap only a little counts as the peer's
/// silence. Takes durations, owns no timer.
/// </summary>
/// <param name="interval">From heartbeat to heartbeat, and from look to look.</param>
/// <param name="timeout">Within this time a silent peer is given up; at least three intervals.</param>
public sealed class FailureDetector(TimeSpan interval, TimeSpan timeout)
{
    /// <summary>Timeouts below this many intervals would take one late heartbeat for a death.</summary>
    public const int LeastIntervals = 3;

    private readonly TimeSpan _mostOfALook = interval * 1.5;

    /// <summary>The peer's silence so far, without this process' own stalls.</summary>
    public TimeSpan Silence { get; private set; }

    /// <summary>Whether the peer is to be given up, for the next look would come too late to keep to the timeout.</summary>
    /// <param name="sinceLook">Since the look before.</param>
    /// <param name="silence">Since anything was heard from the peer.</param>
    public bool Look(TimeSpan sinceLook, TimeSpan silence)
    {
        Silence = silence < sinceLook ? Least(silence, _mostOfALook) : Silence + Least(sinceLook, _mostOfALook);
        return Silence > timeout - interval;
    }

    private static TimeSpan Least(TimeSpan a, TimeSpan b) => a < b ? a : b;
}
