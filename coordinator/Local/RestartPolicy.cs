namespace Distributed.Coordinator.Local;

/// <summary>
/// Decides whether a local worker that has ended is replaced: at most so many times in a run, and not where it gave up by
/// itself before it ever served, for then its successor would do the same.
/// </summary>
internal sealed class RestartPolicy(int maxRestarts)
{
    // The system reports death by signal n as exit code 128 + n.
    private const int FirstSignalCode = 129;

    /// <summary>How many have been replaced.</summary>
    public int Restarts { get; private set; }

    /// <param name="exitCode">How it ended; null: it could not even be started.</param>
    /// <param name="hasServed">Whether it, or the one it replaced, was ever a member.</param>
    public bool Replaces(int? exitCode, bool hasServed)
    {
        if (Restarts >= maxRestarts || exitCode is null || (exitCode < FirstSignalCode && !hasServed))
            return false;
        Restarts++;
        return true;
    }
}
