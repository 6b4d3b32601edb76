namespace Distributed.Worker.Compute;

/// <summary>
/// Hands out the numbers 0..count-1 to T threads: to each a range of its own, in order, and what others have left when
/// that is done. Neighbours in the reduction tree so meet on one thread, and few additions are left for the end.
/// </summary>
internal sealed class WorkRanges(int threads)
{
    // A cache line for each thread's counter.
    private const int Spacing = 16;

    private readonly int[] _taken = new int[threads * Spacing];
    private int _count;

    /// <summary>Begins anew; nobody may be taking.</summary>
    public void Reset(int count)
    {
        _count = count;
        Array.Clear(_taken);
    }

    /// <summary>The next number for a thread, or -1 when all are taken.</summary>
    public int Take(int thread)
    {
        for (int i = 0; i < threads; i++)
        {
            int owner = (thread + i) % threads, first = Start(owner), end = Start(owner + 1);
            if (Volatile.Read(ref _taken[owner * Spacing]) >= end - first)
                continue;
            int taken = Interlocked.Increment(ref _taken[owner * Spacing]) - 1;
            if (taken < end - first)
                return first + taken;
        }

        return -1;
    }

    private int Start(int thread) => (int)((long)_count * thread / threads);
}
