using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Status;

/// <summary>The last checkpoint.</summary>
/// <param name="Step">Steps of the run that it holds.</param>
/// <param name="Duration">How long it took to write.</param>
internal sealed record CheckpointMoment(long Step, DateTimeOffset Time, TimeSpan Duration, string Path);

/// <summary>A moment of a run as the step loop sees it: immutable, published whole, so that its parts agree.</summary>
internal sealed record RunMoment(
    RunState State,
    RunSnapshot Position,
    Membership? Membership,
    ImmutableArray<EpochReport> History,
    EvaluationResult? Test,
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
    private readonly ConcurrentDictionary<int, IWorkerLink> _newcomers = new();
    private readonly long _start = Stopwatch.GetTimestamp();
    private RunMoment _moment = new(RunState.Waiting, RunSnapshot.Start, null, [], null, null);
    private RunDefinition? _run;
    private CheckpointMoment? _checkpoint;
    private long _steps, _images, _trainingTicks, _evaluationTicks, _end;

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

    public RunMoment Moment => Volatile.Read(ref _moment);

    /// <summary>The last one; null while there is none. Any thread may set it.</summary>
    public CheckpointMoment? Checkpoint
    {
        get => Volatile.Read(ref _checkpoint);
        set => Volatile.Write(ref _checkpoint, value);
    }

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

    /// <summary>Since the start; stands still once the run has ended.</summary>
    public TimeSpan Elapsed => Volatile.Read(ref _end) is var end and not 0 ? Stopwatch.GetElapsedTime(_start, end) : Stopwatch.GetElapsedTime(_start);

    /// <summary>Called after each step, with its duration. Set before the run begins.</summary>
    public Action<TimeSpan>? OnStep { get; set; }

    /// <summary>Where the time went, in the phases of run.json; the step loop's own object. Set before the run begins.</summary>
    public Phases Phases { get; set; } = new();

    /// <summary>The run does something else from here on.</summary>
    public void Enter(RunState state)
    {
        if (_moment.State != state)
            Set(_moment with { State = state });
    }

    /// <summary>The membership has changed.</summary>
    public void Change(Membership membership)
    {
        foreach (Member member in membership.Members)
        {
            if (_newcomers.TryRemove(member.Id, out IWorkerLink? link))
                _workers[member.Id] = new WorkerMonitor(member, link);
        }

        if (_moment.Membership != (object)membership)
            Set(_moment with { Membership = membership });
    }

    public void Joined(IWorkerLink link) => _newcomers[link.Member.Id] = link;

    public void Lost(int worker)
    {
        if (_workers.TryGetValue(worker, out WorkerMonitor? lost))
            lost.Lose();
        if (Workers.Where(static other => other.IsLost).ToArray() is { Length: > MostLost } all)
            _workers.TryRemove(all[0].Member.Id, out _);
    }

    /// <summary>A step has ended. Not yet seen by readers.</summary>
    /// <param name="step">Steps of the run with it.</param>
    public void AddStep(long step, double lossSum, int correct, int samples, StepClock clock)
    {
        TimeSpan duration = clock.StepDuration;
        foreach ((int worker, StepClock.Share share) in clock.Shares)
        {
            if (_workers.TryGetValue(worker, out WorkerMonitor? monitor))
                monitor.Add(share.Images, duration, share.Compute, share.Exchange, duration - share.Compute - share.Exchange);
        }

        Volatile.Write(ref _steps, _steps + 1);
        Volatile.Write(ref _images, _images + samples);
        Volatile.Write(ref _trainingTicks, _trainingTicks + duration.Ticks);
        Curve.Add(step, lossSum, correct, samples, duration);
        OnStep?.Invoke(duration);
    }

    /// <summary>Lets readers see how far the run is.</summary>
    public void Publish(RunSnapshot position)
    {
        foreach ((_, WorkerMonitor worker) in _workers)
            worker.Publish();
        Set(_moment with { Position = position });
    }

    public void AddEpoch(EpochReport epoch, EvaluationResult test, TimeSpan evaluation)
    {
        Volatile.Write(ref _evaluationTicks, _evaluationTicks + evaluation.Ticks);
        Set(_moment with { History = _moment.History.Add(epoch), Test = test });
    }

    /// <summary>The run goes on after epochs that an earlier process made.</summary>
    public void Resume(IEnumerable<EpochReport> history) => Set(_moment with { History = [.. history] });

    /// <summary>The run is over.</summary>
    /// <param name="failure">Why it could not go on, if it failed.</param>
    public void End(RunState state, string? failure = null)
    {
        Volatile.Write(ref _end, Stopwatch.GetTimestamp());
        Set(_moment with { State = state, Failure = failure });
    }

    private void Set(RunMoment moment) => Volatile.Write(ref _moment, moment);
}
