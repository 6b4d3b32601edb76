using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>
/// How one compute thread adds two partials. What was lent to one thread lies in its core's cache, and is added by one thread; of what was
/// lent to two, half has to come from another core, whoever adds, and threads that have nothing else to do take parts of it: when an
/// order's last microbatches are done, all but one have. Who adds a part changes no bit.
/// </summary>
/// <param name="parts">As many as threads, so that nobody waits for a second one.</param>
/// <param name="isFromFront">
/// Whether this thread begins with the first part; else with the last. Each part is so, as far as can be, the same thread's in every
/// step, and in its core's cache.
/// </param>
internal sealed class JointAddition(int parts, bool isFromFront) : IPartialAddition
{
    private const int CountBits = 16;
    private const int CountMask = (1 << CountBits) - 1;

    private readonly int _parts = parts;

    private Partial? _left, _right;
    private WirePrecision _precision;

    // How many parts are taken from the front and, above that, from the back: one word, so that no part is taken from both. What is to be
    // added is written only while no part is left to take and all are added, and read only by who has taken one.
    private int _taken = parts;
    private int _added;

    /// <summary>Where this thread begins.</summary>
    public bool IsFromFront => isFromFront;

    /// <summary>Returns when all of it is done. On its own thread only.</summary>
    public void Add(Partial left, Partial right, WirePrecision precision)
    {
        // Nobody may take a part of what cannot be added: this says why.
        if (left.Borrower == right.Borrower || left.Gradient.Length != right.Gradient.Length)
        {
            left.Add(right, precision);
            return;
        }

        (_left, _right, _precision) = (left, right, precision);
        _added = 0;
        Volatile.Write(ref _taken, 0);
        AddParts(isFromFront);
        SpinWait wait = default;
        while (Volatile.Read(ref _added) < _parts)
            wait.SpinOnce(sleep1Threshold: -1);
        left.AddTotals(right);
    }

    /// <summary>Adds parts while there are any. On any thread, at any time.</summary>
    /// <param name="isFromFront">Where that thread begins.</param>
    /// <returns>Whether there were.</returns>
    public bool AddParts(bool isFromFront)
    {
        bool hasAdded = false;
        while (Take(isFromFront) is int part and >= 0)
        {
            int length = _left!.Gradient.Length, first = VectorParts.Start(part, _parts, length), end = VectorParts.Start(part + 1, _parts, length);
            PartialSum.Add(_left.Gradient.Values[first..end], _right!.Gradient.Values[first..end], _precision);
            Interlocked.Increment(ref _added);
            hasAdded = true;
        }

        return hasAdded;
    }

    /// <summary>A part's number, or -1 when all are taken.</summary>
    private int Take(bool isFromFront)
    {
        int taken = Volatile.Read(ref _taken);
        while (true)
        {
            int front = taken & CountMask, back = taken >> CountBits;
            if (front + back == _parts)
                return -1;
            int before = Interlocked.CompareExchange(ref _taken, taken + (isFromFront ? 1 : 1 << CountBits), taken);
            if (before == taken)
                return isFromFront ? front : _parts - 1 - back;
            taken = before;
        }
    }
}
