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

    /// <summary>The next numbers for a thread; none when all are taken.</summary>
    /// <param name="most">Of its own as many at most; of what others have left it takes one.</param>
    public (int First, int Count) Take(int thread, int most)
    {
        for (int i = 0; i < threads; i++)
        {
            int owner = (thread + i) % threads, first = Start(owner), length = Start(owner + 1) - first, wanted = i == 0 ? most : 1;
            if (Volatile.Read(ref _taken[owner * Spacing]) >= length)
                continue;
            int taken = Interlocked.Add(ref _taken[owner * Spacing], wanted) - wanted;
            if (taken < length)
                return (first + taken, Math.Min(wanted, length - taken));
        }

        return default;
    }

    private int Start(int thread) => (int)((long)_count * thread / threads);
}
