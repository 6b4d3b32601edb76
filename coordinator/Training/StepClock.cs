using System.Diagnostics;

namespace Distributed.Coordinator.Training;

/// <summary>Splits the time of a step into <see cref="Phases"/>, and into what it was for each worker.</summary>
internal sealed class StepClock
{
    private readonly Dictionary<int, Share> _shares = [];
    private long _start;
    private long _mark;

    /// <summary>The last step, from its orders to the updated weights.</summary>
    public TimeSpan StepDuration => Stopwatch.GetElapsedTime(_start, _mark);

    /// <summary>By worker: those who delivered in the last step.</summary>
    public IEnumerable<KeyValuePair<int, Share>> Shares => _shares;

    public void StartStep()
    {
        _shares.Clear();
        _mark = _start = Stopwatch.GetTimestamp();
    }

    /// <summary>A partial has come.</summary>
    /// <param name="compute">From the arrival of the order at the worker to the partial.</param>
    public void Note(int worker, TimeSpan compute, int samples)
    {
        Share share = _shares.GetValueOrDefault(worker);
        _shares[worker] = new Share(share.Images + samples, share.Compute > compute ? share.Compute : compute, Stopwatch.GetElapsedTime(_start));
    }

    /// <summary>All partials are added.</summary>
    public void EndExchange(Phases phases)
    {
        double elapsed = Lap();
        double slowest = 0, sum = 0;
        foreach (Share share in _shares.Values)
        {
            slowest = Math.Max(slowest, share.Compute.TotalSeconds);
            sum += share.Compute.TotalSeconds;
        }

        double mean = _shares.Count > 0 ? sum / _shares.Count : 0;
        phases.Compute += mean;
        phases.Wait += slowest - mean;
        phases.Exchange += Math.Max(0, elapsed - slowest);
    }

    public void EndUpdate(Phases phases) => phases.Update += Lap();

    private double Lap()
    {
        long now = Stopwatch.GetTimestamp();
        double seconds = Stopwatch.GetElapsedTime(_mark, now).TotalSeconds;
        _mark = now;
        return seconds;
    }

    /// <summary>A worker's part in a step.</summary>
    /// <param name="Images">Samples of its partials.</param>
    /// <param name="Compute">The longest that it has reported.</param>
    /// <param name="Arrival">From the start of the step to its last partial.</param>
    public readonly record struct Share(int Images, TimeSpan Compute, TimeSpan Arrival)
    {
        /// <summary>On the wire and in queues: what of <see cref="Arrival"/> was not computing.</summary>
        public TimeSpan Exchange => Arrival > Compute ? Arrival - Compute : TimeSpan.Zero;
    }
}
