using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Reduction;

namespace Distributed.Coordinator.Status;

/// <summary>A picture of a run as the step loop sees it: immutable, published whole, so that its parts agree.</summary>
internal sealed record RunPicture(
    RunState State,
    RunSnapshot Position,
    Membership? Membership,
    ImmutableArray<EpochReport> History,
    EvaluationResult? Test,
    double ImagesPerSecond,
    string? Failure);

/// <summary>
/// What the status endpoint knows of a run. The step loop writes, without ever waiting; whoever wants to know reads what
/// was published last.
/// </summary>
internal sealed class RunMonitor(RunOptions options, RunJournal journal)
{
    // A worker that comes and goes for days must not fill the page.
    private const int MostLost = 32;

    private readonly ConcurrentDictionary<int, WorkerMonitor> _workers = new();
    private readonly RateWindow _rate = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private RunPicture _picture = new(RunState.Waiting, RunSnapshot.Start, null, [], null, 0, null);
    private RunDefinition? _run;
    private bool _isStopping;
    private long _steps, _images, _trainingTicks, _evaluationTicks, _evaluations, _end;

    public RunOptions Options { get; } = options;

    public RunJournal Journal { get; } = journal;

    public DateTimeOffset Started { get; } = DateTimeOffset.UtcNow;

    public LearningCurve Curve { get; } = new();

    /// <summary>Null while the data is being loaded.</summary>
    public RunDefinition? Run
    {
        get => Volatile.Read(ref _run);
        set => Volatile.Write(ref _run, value);
    }

    public RunPicture Picture => Volatile.Read(ref _picture);

    /// <summary>Says how the checkpoints stand; null before the first. Any thread may ask.</summary>
    public Func<CheckpointStatus?> Checkpoints { get; set; } = static () => null;

    /// <summary>What the run does: told to stop, it stops, whatever it still has to do for that.</summary>
    public RunState State => Picture.State is var state && Volatile.Read(ref _isStopping) && state is not (RunState.Completed or RunState.Failed) ? RunState.Stopping : state;

    /// <summary>Workers that are in, and the last that were, by id.</summary>
    public IEnumerable<WorkerMonitor> Workers => _workers.Values.OrderBy(static worker => worker.Member.Id);

    /// <summary>Steps made by this process.</summary>
    public long Steps => Volatile.Read(ref _steps);

    /// <summary>Images trained on by this process.</summary>
    public long Images => Volatile.Read(ref _images);

    /// <summary>Time spent on those steps.</summary>
    public TimeSpan TrainingTime => new(Volatile.Read(ref _trainingTicks));

    /// <summary>Time spent on scoring the test set.</summary>
    public TimeSpan EvaluationTime => new(Volatile.Read(ref _evaluationTicks));

    /// <summary>How often this process has scored it.</summary>
    public long Evaluations => Volatile.Read(ref _evaluations);

    /// <summary>Since the start; stands still once the run has ended.</summary>
    public TimeSpan Elapsed => Volatile.Read(ref _end) is var end and not 0 ? Stopwatch.GetElapsedTime(_start, end) : Stopwatch.GetElapsedTime(_start);

    /// <summary>Called after each step, with its duration. Set before the run begins.</summary>
    public Action<TimeSpan>? OnStep { get; set; }

    /// <summary>Where the time went, in the phases of run.json; the step loop's own object.</summary>
    public Phases Phases { get; private set; } = new();

    /// <summary>The run begins, or goes on.</summary>
    /// <param name="history">Epochs that an earlier process has made.</param>
    public void Begin(IEnumerable<EpochReport> history, Phases phases)
    {
        Phases = phases;
        Set(_picture with { History = [.. history] });
    }

    /// <summary>The run does something else from here on.</summary>
    public void Enter(RunState state)
    {
        if (_picture.State != state)
            Set(_picture with { State = state });
    }

    /// <summary>The run was told to stop. Any thread may tell.</summary>
    public void Stop() => Volatile.Write(ref _isStopping, true);

    /// <summary>A worker is in.</summary>
    public void Join(IWorkerLink link, Membership membership)
    {
        _workers[link.Member.Id] = new WorkerMonitor(membership.Find(link.Member.Id) ?? link.Member, link, TrainingTime);
        Change(membership);
    }

    /// <summary>A worker is out.</summary>
    public void Lose(int worker, Membership membership)
    {
        if (_workers.TryGetValue(worker, out WorkerMonitor? lost))
            lost.Lose();
        if (Workers.Where(static other => other.IsLost).ToArray() is { Length: > MostLost } all)
            _workers.TryRemove(all[0].Member.Id, out _);
        Change(membership);
    }

    /// <summary>The membership may have changed.</summary>
    public void Change(Membership membership)
    {
        if (_picture.Membership != (object)membership)
            Set(_picture with { Membership = membership });
    }

    /// <summary>A worker's partial was added.</summary>
    /// <param name="images">Its samples.</param>
    public void AddAnswer(int worker, int images)
    {
        if (_workers.TryGetValue(worker, out WorkerMonitor? monitor))
            monitor.AddImages(images);
    }

    /// <summary>A step has ended. Not yet seen by readers.</summary>
    /// <param name="step">Steps of the run with it.</param>
    public void AddStep(long step, StepTotals sum, StepClock clock)
    {
        TimeSpan duration = clock.Step;
        foreach (WorkerTiming timing in clock.Timings)
        {
            if (timing.Answered > TimeSpan.Zero && _workers.TryGetValue(timing.Worker, out WorkerMonitor? monitor))
                monitor.AddStep(duration, timing);
        }

        Volatile.Write(ref _steps, _steps + 1);
        Volatile.Write(ref _images, _images + sum.Samples);
        Volatile.Write(ref _trainingTicks, _trainingTicks + duration.Ticks);
        Curve.Add(step, sum.LossSum, sum.Correct, sum.Samples, duration);
        OnStep?.Invoke(duration);
    }

    /// <summary>Lets readers see how far the run is.</summary>
    public void Publish(RunSnapshot position)
    {
        foreach ((_, WorkerMonitor worker) in _workers)
            worker.Publish(TrainingTime);
        Set(_picture with { Position = position, ImagesPerSecond = _rate.Note(_images, TrainingTime) });
    }

    public void AddEpoch(EpochReport epoch, EvaluationResult test, TimeSpan evaluation)
    {
        Volatile.Write(ref _evaluations, _evaluations + 1);
        Volatile.Write(ref _evaluationTicks, _evaluationTicks + evaluation.Ticks);
        Set(_picture with { History = _picture.History.Add(epoch), Test = test });
    }

    /// <summary>The run is over.</summary>
    /// <param name="failure">Why it could not go on, if it failed.</param>
    public void End(RunState state, string? failure = null)
    {
        Volatile.Write(ref _end, Stopwatch.GetTimestamp());
        Set(_picture with { State = state, Failure = failure });
    }

    private void Set(RunPicture picture) => Volatile.Write(ref _picture, picture);
}

/// <summary>A throughput over the last seconds of training. Used by the step loop alone.</summary>
internal sealed class RateWindow
{
    private (long Images, TimeSpan Time) _start, _previousStart;

    /// <returns>Images a second since a moment one or two windows ago.</returns>
    /// <param name="time">Spent on training so far.</param>
    public double Note(long images, TimeSpan time)
    {
        if (time - _start.Time >= WorkerMonitor.Window)
            (_previousStart, _start) = (_start, (images, time));
        double seconds = (time - _previousStart.Time).TotalSeconds;
        return seconds > 0 ? (images - _previousStart.Images) / seconds : 0;
    }
}
