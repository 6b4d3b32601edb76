namespace Distributed.Exchange;

/// <summary>
/// Wakes one waiter. Whoever has something for it makes that visible first and rings then; the waiter looks at the bell
/// first, then at what there may be, and waits only if there was nothing: so no ring is lost.
/// </summary>
public abstract class Bell
{
    /// <summary>How often it has rung so far, modulo 2^32.</summary>
    public abstract int Look();

    /// <summary>Rings it, from any thread.</summary>
    public abstract void Ring();

    /// <summary>Returns when it has rung since a <see cref="Look"/> that gave <paramref name="seen"/>, or the time is over.</summary>
    /// <param name="timeout">A ring that was lost with its ringer's process is made up for after this.</param>
    public abstract void WaitPast(int seen, TimeSpan timeout);

    /// <summary>
    /// As <see cref="WaitPast(int, TimeSpan)"/>, but stays awake for a while before it sleeps: waking up costs more than a short wait.
    /// It gives the core away each time it looks, since who is to ring may need it.
    /// </summary>
    /// <param name="patience">How long to stay awake.</param>
    public void WaitPast(int seen, TimeSpan timeout, TimeSpan patience)
    {
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        while (System.Diagnostics.Stopwatch.GetElapsedTime(start) < patience)
        {
            if (Look() != seen)
                return;
            Thread.Yield();
        }

        WaitPast(seen, timeout);
    }
}

/// <summary>A bell within one process, on any platform.</summary>
public sealed class ProcessBell : Bell
{
    private readonly object _gate = new();
    private int _rings;

    public override int Look() => Volatile.Read(ref _rings);

    public override void Ring()
    {
        lock (_gate)
        {
            _rings++;
            Monitor.PulseAll(_gate);
        }
    }

    public override void WaitPast(int seen, TimeSpan timeout)
    {
        lock (_gate)
        {
            if (_rings == seen)
                Monitor.Wait(_gate, timeout);
        }
    }
}
