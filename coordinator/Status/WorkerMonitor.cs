using System.Diagnostics;
using Distributed.Coordinator.Members;

namespace Distributed.Coordinator.Status;

/// <summary>What a worker had done by some moment.</summary>
/// <param name="Steps">Steps to which it delivered a partial.</param>
/// <param name="Images">Samples of its partials.</param>
/// <param name="Training">What all of the run's steps took, with or without it.</param>
/// <param name="Step">Duration of its own steps; the sum of the three that follow.</param>
/// <param name="Compute">As the worker reported it.</param>
/// <param name="Exchange">From its orders to its last partials, less the computing: on the wire and in queues.</param>
/// <param name="Wait">The rest of the steps: others were slower, or the coordinator was adding and updating.</param>
internal readonly record struct WorkerTotals(long Steps, long Images, TimeSpan Training, TimeSpan Step, TimeSpan Compute, TimeSpan Exchange, TimeSpan Wait)
{
    public static WorkerTotals operator -(WorkerTotals a, WorkerTotals b) =>
        new(a.Steps - b.Steps, a.Images - b.Images, a.Training - b.Training, a.Step - b.Step, a.Compute - b.Compute, a.Exchange - b.Exchange, a.Wait - b.Wait);
}

/// <summary>A worker's totals, and those since a moment a few seconds ago: immutable, published whole.</summary>
internal sealed record WorkerFigures(WorkerTotals Totals, WorkerTotals Recent)
{
    public static WorkerFigures None { get; } = new(default, default);
}

/// <summary>Follows one worker from its joining on, past its loss. Written by the step loop, read by anyone.</summary>
/// <param name="training">The run's training time when it joined.</param>
internal sealed class WorkerMonitor(Member member, IWorkerLink link, TimeSpan training)
{
    /// <summary>What is recent: the steps of the last window and of the one under way.</summary>
    public static readonly TimeSpan Window = TimeSpan.FromSeconds(2);

    private WorkerTotals _totals = new() { Training = training }, _windowStart = new() { Training = training }, _previousStart = new() { Training = training };
    private WorkerFigures _figures = WorkerFigures.None;

    // A lost worker leaves its last words here, so that its link need not be kept.
    private IWorkerLink? _link = link;
    private LastWords _lastWords = new(0, TimeSpan.Zero, 0, 0);

    /// <summary>As the membership names it.</summary>
    public Member Member { get; } = member;

    public WorkerFigures Figures => Volatile.Read(ref _figures);

    public bool IsLost => Volatile.Read(ref _link) is null;

    /// <summary>How long nothing has been heard from it.</summary>
    public TimeSpan Silence => Volatile.Read(ref _link) is { } link ? link.Silence : _lastWords.Silence + Stopwatch.GetElapsedTime(_lastWords.Timestamp);

    public long BytesSent => Volatile.Read(ref _link) is { } link ? link.BytesSent : _lastWords.BytesSent;

    public long BytesReceived => Volatile.Read(ref _link) is { } link ? link.BytesReceived : _lastWords.BytesReceived;

    /// <summary>A partial of its was added. Not yet seen by readers.</summary>
    public void AddImages(int images) => _totals = _totals with { Images = _totals.Images + images };

    /// <summary>A step to which it contributed has ended. Not yet seen by readers.</summary>
    public void AddStep(TimeSpan duration, WorkerTiming timing)
    {
        TimeSpan exchange = timing.Answered > timing.Compute ? timing.Answered - timing.Compute : TimeSpan.Zero;
        _totals = _totals with
        {
            Steps = _totals.Steps + 1,
            Step = _totals.Step + duration,
            Compute = _totals.Compute + timing.Compute,
            Exchange = _totals.Exchange + exchange,
            Wait = _totals.Wait + duration - timing.Compute - exchange,
        };
    }

    /// <summary>Lets readers see what was added.</summary>
    /// <param name="training">The run's training time by now.</param>
    public void Publish(TimeSpan training)
    {
        _totals = _totals with { Training = training };
        if (_totals.Training - _windowStart.Training >= Window)
            (_previousStart, _windowStart) = (_windowStart, _totals);
        Volatile.Write(ref _figures, new WorkerFigures(_totals, _totals - _previousStart));
    }

    public void Lose()
    {
        if (_link is not { } link)
            return;
        _lastWords = new LastWords(Stopwatch.GetTimestamp(), link.Silence, link.BytesSent, link.BytesReceived);
        Volatile.Write(ref _link, null);
    }

    private sealed record LastWords(long Timestamp, TimeSpan Silence, long BytesSent, long BytesReceived);
}
