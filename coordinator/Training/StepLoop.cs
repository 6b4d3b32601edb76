using System.Collections.Immutable;
using System.Diagnostics;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Local;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Output;
using Distributed.Coordinator.Status;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>
/// The run itself: orders each step, adds what comes back along the tree, updates the weights, and goes on. Everything
/// that happens reaches it as an event, one at a time; what to do about it is decided by the ledgers and the membership.
/// </summary>
internal sealed class StepLoop
{
    // Often enough for the eye; a snapshot a step would be garbage a step.
    private static readonly TimeSpan SnapshotInterval = TimeSpan.FromMilliseconds(50);

    private readonly RunDefinition _run;
    private readonly RunInbox _inbox;
    private readonly IRunObserver _observer;
    private readonly RunJournal _journal;
    private readonly RunMonitor _monitor;
    private readonly ILogger _log;
    private readonly TimeProvider _time;
    private readonly LocalFleet? _fleet;
    private readonly LedgerFile? _ledger;
    private readonly Roster _roster;
    private readonly Quorum _quorum;
    private readonly StepLedger _steps;
    private readonly EvaluationLedger _evaluation;
    private readonly Optimizer _optimizer;
    private readonly RunWeights _weights;
    private readonly PartialIntake _intake;
    private readonly StepClock _clock;
    private readonly Phases _phases;
    private readonly CheckpointWriter? _checkpoints;
    private readonly RunPosition _began;
    private readonly long _start;
    private readonly RunProgress _progress = new();
    private State _state = State.Gathering;
    private int _epoch;
    private int _step;
    private EpochSums _sums;
    private ImmutableList<EpochReport> _reports;
    private int _staleAnswers;
    private string _lastLoss = "none ever joined";
    private long _lastLook;

    /// <param name="localWorkers">Runs the workers of the single-machine mode; null: all come from elsewhere.</param>
    /// <param name="ledger">Gets a line for each step; null: none is wanted.</param>
    /// <param name="checkpoints">Null: none are written.</param>
    /// <param name="start">Where to go on; null: at the beginning.</param>
    /// <param name="weights">Where workers are to find them, P values; null: anywhere.</param>
    public StepLoop(
        RunDefinition run,
        RunInbox inbox,
        IRunObserver observer,
        RunMonitor monitor,
        ILogger log,
        TimeProvider time,
        ILocalWorkers? localWorkers,
        LedgerFile? ledger,
        CheckpointWriter? checkpoints = null,
        Checkpoint? start = null,
        VectorBuffer? weights = null)
    {
        _run = run;
        _inbox = inbox;
        _observer = observer;
        _monitor = monitor;
        _journal = monitor.Journal;
        _log = log;
        _time = time;
        _start = _lastLook = time.GetTimestamp();
        _clock = new StepClock(time);
        _fleet = localWorkers is null ? null : new LocalFleet(run.Options, localWorkers, _journal, log);
        _ledger = ledger;
        _roster = new Roster(run, _journal, log);
        _quorum = new Quorum(run.Options.WorkerTimeout);
        _steps = new StepLedger(run.Tree);
        _evaluation = new EvaluationLedger(run.Dataset.Test.Count, run.Options.TestBlockSamples);
        _optimizer = Optimizer.Create(run.Options.Optimizer, run.Model.ParameterCount);
        _weights = new RunWeights(run.Options.Wire, run.Model.ParameterCount, weights);
        _intake = new PartialIntake(run, _steps, _roster, _optimizer, _weights, _journal, log, ledger);
        ParameterInitializer.Create(run.Model, run.Options.Seed).CopyTo(_weights.Master.Values);
        start?.Restore(run.Model, _weights.Master, _optimizer);
        _weights.ShowRounded();
        _began = start?.Position ?? RunPosition.Start(run.Plan.StepsPerEpoch);
        _checkpoints = checkpoints;
        (_epoch, _sums, _phases) = (_began.Epoch, _began.Sums, _began.Phases with { });
        // What --max-steps had ended within an epoch is reported anew when the epoch goes on.
        _reports = [.. _began.Reports.Take(_began.Epoch)];
        monitor.Begin(_reports, _phases);
    }

    private enum State
    {
        /// <summary>Waiting for the workers that the run starts with. Next: Training. A local worker that cannot join fails the run.</summary>
        Gathering,

        /// <summary>
        /// A step is under way. Next: Training or Evaluating. A lost worker's shards go to the others; while there are too
        /// few others they wait.
        /// </summary>
        Training,

        /// <summary>The test set is being scored. Next: Training or Ended. A lost worker's blocks go to the others, as above.</summary>
        Evaluating,

        /// <summary>All is done; what still comes is ignored.</summary>
        Ended,
    }

    /// <summary>How far the run has come; the weights are never ahead of it.</summary>
    private RunPosition Position => new(
        _epoch, _sums, _run.Plan.StepsPerEpoch, _reports, _phases with { }, _began.Seconds + Now.TotalSeconds)
    {
        Workers = Math.Max(_began.Workers, _roster.MostMembers),
        LeasesMoved = _began.LeasesMoved + _roster.LeasesMoved,
    };

    /// <summary>Trains to the end and lets the workers go.</summary>
    /// <param name="stop">Ends the run after the step under way, with a checkpoint.</param>
    /// <exception cref="RunFailedException">The run cannot go on.</exception>
    /// <exception cref="OperationCanceledException">It was told to stop.</exception>
    public Task<RunResult> RunAsync(CancellationToken stop) =>
        // A thread of its own: a thread of the pool would come back from each wait later, and might be another.
        Task.Factory.StartNew(() => Run(stop), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private RunResult Run(CancellationToken stop)
    {
        EvaluationResult? test = null;
        TimeSpan patience = _run.Options.StopDiskPatience;
        using CancellationTokenSource abandon = new();
        using CancellationTokenRegistration stopping = stop.Register(() =>
        {
            _journal.Record(JournalKind.Stopping, null, "told to stop: finishing the step");
            _monitor.Stop();
            abandon.CancelAfter(_run.Options.StopGrace);
            _inbox.Wake();
        });
        using CancellationTokenRegistration abandoning = abandon.Token.Register(_inbox.Wake);
        using ITimer heartbeats = _time.CreateTimer(
            static inbox => ((RunInbox)inbox!).Post(new HeartbeatDue()), _inbox, _run.Options.HeartbeatInterval, _run.Options.HeartbeatInterval);
        try
        {
            while (!HasQuorum())
                Handle(_inbox.Take(stop));
            while (!Position.IsEndOf(_run.Options))
            {
                (EpochReport report, test) = RunEpoch(stop, abandon.Token);
                _reports = _reports.Add(report);
                if (report.Steps == report.StepsPerEpoch)
                    (_epoch, _sums) = (_epoch + 1, default);
                _observer.EpochEnded(report);
                SaveIfDue(RunMoment.EpochEnded);
            }

            patience = _run.Options.EndDiskPatience;
        }
        finally
        {
            _state = State.Ended;
            string farewell = stop.IsCancellationRequested ? "the coordinator was told to stop" : "the run has ended";
            foreach (IWorkerLink link in _roster.Links)
                link.Drain(farewell);

            while (_inbox.TryTake(out RunEvent? late))
                (late as WorkerCalled)?.Link.Drain(farewell);
            _intake.TakeBack();
            _checkpoints?.FinishAsync(Position, _weights.Master, _optimizer, patience).GetAwaiter().GetResult();
        }

        return new RunResult(
            _reports, test, _weights.Master.Values.ToArray(), WeightsHash.Sha256(_weights.Master.Values), Position.Workers, Position.LeasesMoved, _staleAnswers, _phases);
    }

    /// <summary>An epoch, or what is left of it.</summary>
    /// <param name="stop">Ends it after the step under way.</param>
    /// <param name="abandon">Ends it at once.</param>
    private (EpochReport Report, EvaluationResult Test) RunEpoch(CancellationToken stop, CancellationToken abandon)
    {
        using Activity? trace = RunTrace.StartEpoch(_epoch + 1);
        int steps = _run.StepsOfEpoch(_epoch);
        long start = Stopwatch.GetTimestamp() - (long)(_sums.Seconds * Stopwatch.Frequency);
        long lastSnapshot = start;
        Show(steps);
        _observer.EpochStarted(_epoch + 1, _run.Options.Epochs, _progress);
        for (_step = _sums.Steps; _step < steps; _step++)
        {
            StepTotals sum = RunStep(isLast: _step + 1 == steps, abandon);
            _sums = _sums.Add(sum, Stopwatch.GetElapsedTime(start).TotalSeconds);
            _monitor.AddStep(((long)_epoch * _run.Plan.StepsPerEpoch) + _sums.Steps, sum, _clock);
            if (Stopwatch.GetElapsedTime(lastSnapshot) >= SnapshotInterval || _step + 1 == steps)
            {
                lastSnapshot = Stopwatch.GetTimestamp();
                Show(steps);
            }

            if (_step + 1 < steps)
                SaveIfDue(RunMoment.StepEnded);
            stop.ThrowIfCancellationRequested();
        }

        long trained = Stopwatch.GetTimestamp();
        EvaluationResult test = Evaluate(stop);
        double evaluation = Stopwatch.GetElapsedTime(trained).TotalSeconds;
        _phases.Evaluate += evaluation;
        EpochReport report = new(
            _epoch + 1,
            steps,
            _run.Plan.StepsPerEpoch,
            _sums.Samples,
            _sums.Seconds + evaluation,
            _sums.Samples / _sums.Seconds,
            _sums.LossSum / _sums.Samples,
            (double)_sums.Correct / _sums.Samples,
            test.Loss,
            test.Accuracy,
            WeightsHash.Sha256(_weights.Master.Values));
        _monitor.AddEpoch(report, test, TimeSpan.FromSeconds(evaluation));
        return (report, test);
    }

    /// <summary>Lets everybody see how far the epoch is.</summary>
    /// <param name="steps">That the run makes in it.</param>
    private void Show(int steps)
    {
        double samples = Math.Max(1, _sums.Samples);
        double rate = _sums.Samples > 0 ? _sums.Samples / _sums.Seconds : 0;
        RunSnapshot position = new(_epoch + 1, _sums.Steps, steps, _sums.LossSum / samples, _sums.Correct / samples, rate);
        _progress.Latest = position;
        _monitor.Publish(position);
    }

    private void SaveIfDue(RunMoment moment)
    {
        if (_checkpoints?.IsDue(moment, ((long)_epoch * _run.Plan.StepsPerEpoch) + _sums.Steps) == true)
            _checkpoints.Take(Position, _weights.Master, _optimizer);
    }

    /// <summary>One step: the sums over its samples, after the update.</summary>
    /// <param name="isLast">The test set is scored after it.</param>
    private StepTotals RunStep(bool isLast, CancellationToken cancellation)
    {
        using Activity? trace = RunTrace.StartStep(_epoch + 1, _step + 1, _roster.Count);
        _clock.StartStep();
        _state = State.Training;
        _roster.Rebalance();
        int active = _run.Plan.ActiveShards(_step);
        _steps.Begin(active);
        OrderId order = NextOrder;
        _intake.Begin(order, active, isLast ? null : order with { Step = _step + 1 });
        Order();
        while (!_steps.IsComplete)
            Handle(_inbox.Take(cancellation));

        StepTotals sum = _intake.Sum();
        _clock.EndExchange(_phases, _intake.Updating);
        _ledger?.EndStep(_epoch + 1, _step + 1, sum.Samples, _clock.Exchange);
        if (_clock.IsUndisturbed)
            _roster.Measure(_clock.Timings, _clock.Exchange);
        _intake.Update();
        _clock.EndUpdate(_phases);
        return sum;
    }

    private EvaluationResult Evaluate(CancellationToken cancellation)
    {
        using Activity? trace = RunTrace.StartEvaluation(_epoch + 1);
        _state = State.Evaluating;
        _roster.Rebalance();
        _evaluation.Begin();
        _weights.ShowMaster();
        Order();
        while (!_evaluation.IsComplete)
            Handle(_inbox.Take(cancellation));
        _weights.ShowRounded();
        EvaluationResult result = _evaluation.Sum();
        return double.IsFinite(result.Loss)
            ? result
            : throw new RunFailedException($"training has diverged: the loss on the test set is not finite after epoch {_epoch + 1}; try a smaller --learning-rate");
    }

    /// <summary>Gives out whatever is open, as far as there are workers to take it.</summary>
    private void Order()
    {
        if (!HasQuorum())
            return;
        Membership membership = _roster.Membership;
        OrderId order = NextOrder;
        _monitor.Change(membership);
        _monitor.Enter(_state == State.Evaluating ? RunState.Evaluating : RunState.Training);
        if (_state == State.Training)
        {
            foreach (StepAssignment assignment in _steps.AssignOpen(membership))
            {
                _clock.NoteOrder(membership.Find(assignment.Worker)!, assignment.Shards);
                _roster[assignment.Worker].OrderStep(order, _weights.Shown, assignment.Nodes);
            }
        }
        else if (_state == State.Evaluating)
        {
            foreach (EvaluationAssignment assignment in _evaluation.AssignOpen(membership))
                _roster[assignment.Worker].OrderEvaluation(order, _weights.Shown, _evaluation, assignment.Blocks);
        }
    }

    private OrderId NextOrder => new(_run.RunNumber, _roster.Membership.Version, _epoch, _step);

    /// <summary>Whether enough workers are there; says so when that changes.</summary>
    private bool HasQuorum()
    {
        switch (_quorum.Look(_roster.Count, WorkersNeeded, Now))
        {
            case QuorumChange.Lost:
                Log.Paused(_log, _roster.Count, WorkersNeeded);
                _monitor.Enter(RunState.Paused);
                _journal.Record(JournalKind.Paused, null, $"{_roster.Count} of at least {WorkersNeeded} workers are there");
                break;
            case QuorumChange.Regained when _state != State.Gathering:
                Log.Continued(_log, _roster.Count);
                _journal.Record(JournalKind.Continued, null, $"{_roster.Count} workers are there");
                break;
        }

        return _quorum.IsMet;
    }

    private void Handle(RunEvent happened)
    {
        switch (happened)
        {
            case PartialArrived partial:
                Add(partial);
                break;
            case BlockArrived block:
                Add(block);
                break;
            case WorkerCalled called:
                _roster.Welcome(called.Link);
                break;
            case WorkerReady ready:
                Admit(ready);
                break;
            case WorkerDeclined declined:
                _roster.Decline(declined.Worker, declined.Reason);
                break;
            case WorkerLeft left:
                Lose(left.Worker, left.Reason);
                break;
            case LocalWorkerExited exited:
                Replace(exited);
                break;
            case HeartbeatDue:
                CloseSilent();
                FailIfForsaken();
                break;
        }
    }

    private bool IsDue(OrderId order, State state) =>
        _state == state && (order.Run, order.Epoch, order.Step) == (_run.RunNumber, _epoch, _step);

    private void Add(PartialArrived partial)
    {
        IntakeResult result = _intake.Take(partial, IsDue(partial.Order, State.Training));
        // A partial that comes in chunks counts once.
        if (result.Verdict == Verdict.Stale)
            _staleAnswers += partial.Chunk is null or 0 ? 1 : 0;
        else
            _clock.NoteAnswer(partial.Worker, partial.Compute);
        if (result.Verdict == Verdict.Accepted)
            _monitor.AddAnswer(partial.Worker, partial.Samples);
        if (result.Verdict == Verdict.Refused)
            _clock.Disturb();
        if (result.Lost is { } lost)
            Lose(lost.Worker, lost.Reason);
        else if (result.Verdict == Verdict.Refused)
            Order();
    }

    private void Add(BlockArrived block)
    {
        Verdict verdict = IsDue(block.Order, State.Evaluating)
            ? _evaluation.Accept(block.Worker, block.Order.MembershipVersion, block.Block, block.LossSum, block.Correct, block.Predictions.Span)
            : Verdict.Stale;
        _staleAnswers += verdict == Verdict.Stale ? 1 : 0;
        bool strays = verdict == Verdict.Stale && _state == State.Evaluating && _evaluation.IsOwedBy(block.Worker);
        if (verdict == Verdict.Refused || strays)
            Lose(block.Worker, $"its score of block {block.Block} of the test set was refused");
    }

    private int WorkersNeeded => _state == State.Gathering ? _run.Options.WorkersToStart : _run.Options.MinWorkers;

    private TimeSpan Now => _time.GetElapsedTime(_start);

    private void Admit(WorkerReady ready)
    {
        if (!_roster.Join(ready.Worker, ready.SharesMemory, out IEventSource? source))
            return;
        if (source is not null)
            _inbox.Attach(source);
        _monitor.Join(_roster[ready.Worker], _roster.Membership);
        _fleet?.NoteMember(_roster[ready.Worker].Member.Name);
        if (_state == State.Gathering)
            return;
        // Between steps newcomers wait for the next one; in a step only if nobody else can do the work.
        if (_roster.Membership.Leases.Contains(Membership.Nobody))
            _roster.Rebalance();
        Order();
    }

    private void Lose(int worker, string reason)
    {
        string name = _roster.NameOf(worker);
        if (!_roster.Remove(worker, reason))
            return;
        _monitor.Lose(worker, _roster.Membership);
        _lastLoss = $"{name} was lost: {reason}";
        _clock.Disturb();
        _steps.Lose(worker);
        _intake.Lose(worker);
        _evaluation.Lose(worker);
        FailIfAlone();
        if (_state != State.Gathering)
            Order();
    }

    private void Replace(LocalWorkerExited exited)
    {
        _lastLoss = $"{exited.Name} {exited.Description}";
        if (_fleet is null || _fleet.Replace(exited))
            return;
        if (_state == State.Gathering)
            throw new RunFailedException($"{exited.Name} could not join: it {exited.Description}");
        FailIfAlone();
    }

    private void FailIfAlone()
    {
        if (_fleet is { Running: 0 } && _roster.Count == 0)
            throw new RunFailedException($"no worker is left; the last, {_lastLoss}");
    }

    private void FailIfForsaken()
    {
        if (_quorum.IsGivenUp(Now))
        {
            throw new RunFailedException(
                $"{_roster.Count} of at least {WorkersNeeded} workers were there for {_run.Options.WorkerTimeout.TotalSeconds} s (--worker-timeout); {_lastLoss}");
        }
    }

    private void CloseSilent()
    {
        TimeSpan sinceLook = _time.GetElapsedTime(_lastLook);
        _lastLook = _time.GetTimestamp();
        foreach ((int worker, TimeSpan silence) in _roster.FindSilent(sinceLook))
            Lose(worker, $"nothing was heard from it for {silence.TotalSeconds:0.0} s");
    }
}
