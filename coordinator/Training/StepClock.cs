using System.Diagnostics;

namespace Distributed.Coordinator.Training;

/// <summary>Splits the time of a step into <see cref="Phases"/>.</summary>
internal sealed class StepClock
{
    // The longest that each worker has reported in this step.
    private readonly Dictionary<int, double> _compute = [];
    private long _mark;

    public void StartStep()
    {
        _compute.Clear();
        _mark = Stopwatch.GetTimestamp();
    }

    /// <param name="compute">From the arrival of the order at the worker to the partial.</param>
    public void Note(int worker, TimeSpan compute) => _compute[worker] = Math.Max(_compute.GetValueOrDefault(worker), compute.TotalSeconds);

    /// <summary>All partials are added.</summary>
    public void EndExchange(Phases phases)
    {
        double elapsed = Lap();
        double slowest = 0, sum = 0;
        foreach (double seconds in _compute.Values)
        {
            slowest = Math.Max(slowest, seconds);
            sum += seconds;
        }

        double mean = _compute.Count > 0 ? sum / _compute.Count : 0;
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
}
