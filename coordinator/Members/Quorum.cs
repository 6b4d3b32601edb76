namespace Distributed.Coordinator.Members;

/// <summary>What has become of the number of workers.</summary>
internal enum QuorumChange
{
    None,

    /// <summary>Too few are left: give nothing out any more.</summary>
    Lost,

    /// <summary>Enough are there again.</summary>
    Regained,
}

/// <summary>Whether enough workers are there to go on, and for how long they may be missing. Knows no clock.</summary>
/// <param name="patience">How long to wait for workers.</param>
internal sealed class Quorum(TimeSpan patience)
{
    // Since when there have been too few; the run begins with none.
    private TimeSpan? _missingSince = TimeSpan.Zero;

    public bool IsMet => _missingSince is null;

    /// <param name="members">Who is there.</param>
    /// <param name="needed">How many must be.</param>
    /// <param name="now">Since the start of the run.</param>
    public QuorumChange Look(int members, int needed, TimeSpan now)
    {
        if (members >= needed == IsMet)
            return QuorumChange.None;
        _missingSince = IsMet ? now : null;
        return IsMet ? QuorumChange.Regained : QuorumChange.Lost;
    }

    /// <summary>Whether the wait has been too long.</summary>
    /// <param name="now">Since the start of the run.</param>
    public bool IsGivenUp(TimeSpan now) => _missingSince is { } since && now - since > patience;
}
