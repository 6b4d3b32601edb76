using System.Runtime.InteropServices;
using Distributed.Coordinator.Members;

namespace Distributed.Coordinator.Training;

/// <summary>Splits the time of a step into <see cref="Phases"/>, and measures what each worker took.</summary>
internal sealed class StepClock(TimeProvider time)
{
    private readonly List<WorkerTiming> _timings = [];
    private long _start;
    private long _mark;

    /// <summary>Whether each worker got one order and kept to it: only then do the timings say how fast it is.</summary>
    public bool IsUndisturbed { get; private set; }

    /// <summary>From the step's start to its last partial.</summary>
    public TimeSpan Exchange { get; private set; }

    /// <summary>The last step, from its orders to the updated weights.</summary>
    public TimeSpan Step => time.GetElapsedTime(_start, _mark);

    /// <summary>What each worker took for its part.</summary>
    public ReadOnlySpan<WorkerTiming> Timings => CollectionsMarshal.AsSpan(_timings);

    public void StartStep()
    {
        _timings.Clear();
        IsUndisturbed = true;
        _start = _mark = time.GetTimestamp();
    }

    /// <summary>A worker is given so many microbatches.</summary>
    public void NoteOrder(Member worker, int shards)
    {
        if (Find(worker.Id) >= 0)
            IsUndisturbed = false;
        else
            _timings.Add(new WorkerTiming(worker.Id, worker.Threads, shards, TimeSpan.Zero, TimeSpan.Zero));
    }

    /// <summary>Somebody does not do as ordered.</summary>
    public void Disturb() => IsUndisturbed = false;

    /// <param name="compute">From the arrival of the order at the worker to the partial.</param>
    public void NoteAnswer(int worker, TimeSpan compute)
    {
        int position = Find(worker);
        if (position < 0)
            return;
        _timings[position] = _timings[position] with
        {
            Compute = compute > _timings[position].Compute ? compute : _timings[position].Compute,
            Answered = time.GetElapsedTime(_start),
        };
    }

    /// <summary>All partials are added.</summary>
    /// <param name="updating">Of that time was spent on adding and updating.</param>
    public void EndExchange(Phases phases, TimeSpan updating = default)
    {
        Exchange = Lap();
        double slowest = 0, sum = 0;
        foreach (WorkerTiming timing in _timings)
        {
            slowest = Math.Max(slowest, timing.Compute.TotalSeconds);
            sum += timing.Compute.TotalSeconds;
        }

        double mean = _timings.Count > 0 ? sum / _timings.Count : 0;
        phases.Compute += mean;
        phases.Wait += slowest - mean;
        phases.Update += updating.TotalSeconds;
        phases.Exchange += Math.Max(0, (Exchange - updating).TotalSeconds - slowest);
    }

    public void EndUpdate(Phases phases) => phases.Update += Lap().TotalSeconds;

    private int Find(int worker)
    {
        for (int i = 0; i < _timings.Count; i++)
        {
            if (_timings[i].Worker == worker)
                return i;
        }

        return -1;
    }

    private TimeSpan Lap()
    {
        long now = time.GetTimestamp();
        TimeSpan elapsed = time.GetElapsedTime(_mark, now);
        _mark = now;
        return elapsed;
    }
}
