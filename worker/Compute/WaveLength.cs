namespace Distributed.Worker.Compute;

/// <summary>
/// How many microbatches a thread takes at once. A wave is the fastest where cores are equally fast, but what a thread has taken no other can
/// take over: where one core is slower, as the small cores of many processors are, or is partly somebody else's, microbatches one by one may
/// be. Which it is shows in the time of whole orders: now and then some are carried out the other way. Changes no bit.
/// </summary>
internal sealed class WaveLength
{
    /// <summary>Orders of a trial, and before it, whose medians are compared: what disturbs two or three does not show.</summary>
    private const int TrialOrders = 7;

    /// <summary>Orders until the first trial, when everything is in the caches, and from one to the next.</summary>
    private const int OrdersToFirstTrial = 64, OrdersBetweenTrials = 1024;

    /// <summary>The other way must take less than this part of the time.</summary>
    private const double Gain = 0.97;

    private readonly long[] _before = new long[TrialOrders], _trial = new long[TrialOrders];
    private readonly int _longest;
    private readonly bool _hasChoice;
    private int _ordersToTrial = OrdersToFirstTrial;
    private int _microbatches;
    private int _chosen;
    private int _seen, _tried;

    /// <param name="longest">In microbatches.</param>
    /// <param name="threads">A single one has nobody who could take over what it has taken.</param>
    public WaveLength(int longest, int threads)
    {
        _longest = _chosen = longest;
        _hasChoice = longest > 1 && threads > 1;
    }

    /// <summary>For the next order.</summary>
    public int Current => IsTrial ? Other : _chosen;

    private int Other => _chosen == 1 ? _longest : 1;

    private bool IsTrial => _seen >= _ordersToTrial;

    /// <summary>Learns from an order that has been carried out with the <see cref="Current"/> length.</summary>
    /// <param name="microbatches">In the order; those of other sizes say nothing of each other.</param>
    /// <param name="duration">In any unit.</param>
    public void Learn(int microbatches, long duration)
    {
        if (!_hasChoice)
            return;
        if (microbatches != _microbatches)
        {
            (_microbatches, _tried) = (microbatches, 0);
            _seen = Math.Min(_seen, _ordersToTrial - TrialOrders);
        }

        if (!IsTrial)
        {
            _before[_seen++ % TrialOrders] = duration;
            return;
        }

        _trial[_tried++] = duration;
        if (_tried < TrialOrders)
            return;
        if (Median(_trial) < Gain * Median(_before))
            _chosen = Other;
        (_seen, _tried, _ordersToTrial) = (0, 0, OrdersBetweenTrials);
    }

    private static long Median(long[] durations)
    {
        Array.Sort(durations);
        return durations[durations.Length / 2];
    }
}
