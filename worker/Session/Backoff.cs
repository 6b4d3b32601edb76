namespace Distributed.Worker.Session;

/// <summary>
/// How long to wait before the next attempt: longer each time, and by chance a little more or less, so that a hundred
/// workers that lost their coordinator at once do not all come back at once.
/// </summary>
internal sealed class Backoff(Random random)
{
    public static readonly TimeSpan First = TimeSpan.FromMilliseconds(100);
    public static readonly TimeSpan Longest = TimeSpan.FromSeconds(2);

    private const double Growth = 1.5;

    // Each wait is its nominal length times 1 - Jitter to 1 + Jitter.
    private const double Jitter = 0.25;

    private TimeSpan _next = First;

    public TimeSpan Next()
    {
        TimeSpan wait = _next * (1 - Jitter + (2 * Jitter * random.NextDouble()));
        _next = _next * Growth < Longest ? _next * Growth : Longest;
        return wait;
    }

    /// <summary>There was contact: the next attempt follows soon.</summary>
    public void Reset() => _next = First;
}
