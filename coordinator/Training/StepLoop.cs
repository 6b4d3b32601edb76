using System.Collections.Immutable;
using System.Diagnostics;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Status;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Protos;
using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

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
    private readonly Roster _roster;
    private readonly StepLedger _steps;
    private readonly EvaluationLedger _evaluation;
    private readonly PartialPool _pool;
    private readonly TreeReduction _reduction;
    private readonly Optimizer _optimizer;
    private readonly VectorBuffer _weights;
    private readonly FailureDetector _detector;
    private readonly StepClock _clock = new();
    private readonly Phases _phases = new();
    private readonly RunProgress _progress = new();
    private State _state = State.Gathering;
    private int _epoch;
    private int _step;
    private Partial? _sum;
    private int _staleAnswers;
    private int _localWorkers;
    private string _lastLoss = "none ever joined";
    private long _lastLook = Stopwatch.GetTimestamp();

    public StepLoop(RunDefinition run, RunInbox inbox, IRunObserver observer, RunMonitor monitor, ILogger log)
    {
        _run = run;
        _inbox = inbox;
        _observer = observer;
        _monitor = monitor;
        _journal = monitor.Journal;
        _log = log;
        _localWorkers = run.Options.Workers;
        _roster = new Roster(run, _journal, log);
        _detector = new FailureDetector(run.Options.HeartbeatInterval, run.Options.HeartbeatTimeout);
        _steps = new StepLedger(run.Tree);
        _evaluation = new EvaluationLedger(run.Dataset.Test.Count, run.Options.TestBlockSamples);
        _pool = new PartialPool(run.Model.ParameterCount);
        _reduction = new TreeReduction(run.Tree, _pool);
        _optimizer = Optimizer.Create(run.Options.Optimizer, run.Model.ParameterCount);
        _weights = new VectorBuffer(run.Model.ParameterCount);
        ParameterInitializer.Create(run.Model, run.Options.Seed).CopyTo(_weights.Values);
        monitor.Phases = _phases;
    }

    private enum State
    {
        /// <summary>Waiting for the workers that the run starts with. Next: Training. A local worker that ends fails the run.</summary>
        Gathering,

        /// <summary>A step is under way. Next: Training or Evaluating. A lost worker's shards go to the others.</summary>
        Training,

        /// <summary>The test set is being scored. Next: Training or Ended. A lost worker's blocks go to the others.</summary>
        Evaluating,

        /// <summary>All is done; what still comes is ignored.</summary>
        Ended,
    }

    /// <summary>Trains to the end and lets the workers go.</summary>
    /// <exception cref="RunFailedException">The run cannot go on.</exception>
    public async Task<RunResult> RunAsync(CancellationToken cancellation)
    {
        List<EpochReport> epochs = [];
        EvaluationResult? test = null;
        using Timer heartbeats = new(
            static inbox => ((RunInbox)inbox!).Post(new HeartbeatDue()), _inbox, _run.Options.HeartbeatInterval, _run.Options.HeartbeatInterval);
        try
        {
            while (_roster.Count < _run.Options.WorkersToStart)
                Handle(await _inbox.TakeAsync(cancellation).ConfigureAwait(false));
            for (_epoch = 0; _epoch < _run.Options.Epochs && _run.StepsOfEpoch(_epoch) > 0; _epoch++)
            {
                (EpochReport report, test) = await RunEpochAsync(cancellation).ConfigureAwait(false);
                epochs.Add(report);
                _observer.EpochEnded(report);
            }
        }
        finally
        {
            _state = State.Ended;
            foreach (IWorkerLink link in _roster.Links)
                link.Drain("the run has ended");
        }

        return new RunResult(
            epochs, test, _weights.Values.ToArray(), WeightsHash.Sha256(_weights.Values), _roster.MostMembers, _roster.LeasesMoved, _staleAnswers, _phases);
    }

    private async Task<(EpochReport Report, EvaluationResult Test)> RunEpochAsync(CancellationToken cancellation)
    {
        using Activity? trace = RunTrace.StartEpoch(_epoch + 1);
        int steps = _run.StepsOfEpoch(_epoch);
        double lossSum = 0;
        int correct = 0;
        long samples = 0;
        long start = Stopwatch.GetTimestamp();
        long lastSnapshot = start;
        Show(new RunSnapshot(_epoch + 1, 0, steps, 0, 0, 0));
        _observer.EpochStarted(_epoch + 1, _run.Options.Epochs, _progress);
        for (_step = 0; _step < steps; _step++)
        {
            Partial sum = await RunStepAsync(cancellation).ConfigureAwait(false);
            lossSum += sum.LossSum;
            correct += sum.Correct;
            samples += sum.Samples;
            _monitor.AddStep(((long)_epoch * _run.Plan.StepsPerEpoch) + _step + 1, sum.LossSum, sum.Correct, sum.Samples, _clock);
            _pool.Return(sum);
            if (Stopwatch.GetElapsedTime(lastSnapshot) >= SnapshotInterval || _step + 1 == steps)
            {
                lastSnapshot = Stopwatch.GetTimestamp();
                double rate = samples / Stopwatch.GetElapsedTime(start).TotalSeconds;
                Show(new RunSnapshot(_epoch + 1, _step + 1, steps, lossSum / samples, (double)correct / samples, rate));
            }
        }

        double training = Stopwatch.GetElapsedTime(start).TotalSeconds;
        EvaluationResult test = await EvaluateAsync(cancellation).ConfigureAwait(false);
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        _phases.Evaluate += seconds - training;
        EpochReport report = new(
            _epoch + 1,
            steps,
            _run.Plan.StepsPerEpoch,
            seconds,
            samples / training,
            lossSum / samples,
            (double)correct / samples,
            test.Loss,
            test.Accuracy,
            WeightsHash.Sha256(_weights.Values));
        _monitor.AddEpoch(report, test, TimeSpan.FromSeconds(seconds - training));
        return (report, test);
    }

    private void Show(RunSnapshot position)
    {
        _progress.Latest = position;
        _monitor.Publish(position);
    }

    /// <summary>One step: the sums over its samples, after the update; they go back to the pool.</summary>
    private async Task<Partial> RunStepAsync(CancellationToken cancellation)
    {
        using Activity? trace = RunTrace.StartStep(_epoch + 1, _step + 1, _roster.Count);
        _clock.StartStep();
        _state = State.Training;
        _roster.Rebalance();
        int active = _run.Plan.ActiveShards(_step);
        _steps.Begin(active);
        _reduction.Begin(active, [_run.Tree.Root]);
        _sum = null;
        Order();
        while (!_steps.IsComplete)
            Handle(await _inbox.TakeAsync(cancellation).ConfigureAwait(false));

        Partial sum = _sum ?? throw new InvalidOperationException("the step is complete, but its sum is not");
        _clock.EndExchange(_phases);
        _optimizer.Update(_weights.Values, sum.Gradient.Values, sum.Samples);
        _clock.EndUpdate(_phases);
        return sum;
    }

    private async Task<EvaluationResult> EvaluateAsync(CancellationToken cancellation)
    {
        using Activity? trace = RunTrace.StartEvaluation(_epoch + 1);
        _state = State.Evaluating;
        _evaluation.Begin();
        Order();
        while (!_evaluation.IsComplete)
            Handle(await _inbox.TakeAsync(cancellation).ConfigureAwait(false));
        return _evaluation.Sum();
    }

    /// <summary>Gives out whatever is open, as far as there are workers to take it.</summary>
    private void Order()
    {
        if (_roster.Count < _run.Options.MinWorkers && !_run.Options.IsSingleMachine)
        {
            Log.Paused(_log, _roster.Count, _run.Options.MinWorkers);
            _monitor.Enter(RunState.Paused);
            return;
        }

        Membership membership = _roster.Membership;
        OrderId order = new(_run.RunId, membership.Version, _epoch, _step);
        _monitor.Change(membership);
        _monitor.Enter(_roster.Count == 0 ? RunState.Paused : _state == State.Evaluating ? RunState.Evaluating : RunState.Training);
        if (_state == State.Training)
        {
            foreach (StepAssignment assignment in _steps.AssignOpen(membership))
                _roster[assignment.Worker].OrderStep(order, _weights, assignment.Nodes);
        }
        else if (_state == State.Evaluating)
        {
            foreach (EvaluationAssignment assignment in _evaluation.AssignOpen(membership))
                _roster[assignment.Worker].OrderEvaluation(order, _weights, _evaluation, assignment.Blocks);
        }
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
            case WorkerJoined joined:
                _monitor.Joined(joined.Link);
                _roster.Join(joined.Link);
                _monitor.Change(_roster.Membership);
                // Between steps newcomers wait for the next one; in a step only if nobody else can do the work.
                if (_state != State.Gathering && _roster.Membership.Leases.Contains(Membership.Nobody))
                    _roster.Rebalance();
                if (_state != State.Gathering)
                    Order();
                break;
            case WorkerLeft left:
                Lose(left.Worker, left.Reason);
                break;
            case LocalWorkerExited exited:
                _localWorkers = exited.StillRunning;
                _lastLoss = $"{exited.Name} {exited.Description}";
                if (_state == State.Gathering)
                    throw new RunFailedException($"{exited.Name} could not join: it {exited.Description}");
                FailIfAlone();
                break;
            case HeartbeatDue:
                CloseSilent();
                break;
        }
    }

    private void Add(PartialArrived partial)
    {
        if (_state != State.Training
            || (partial.Order.RunId, partial.Order.Epoch, partial.Order.Step) != (_run.RunId, _epoch, _step)
            || _steps.Accept(partial.Worker, partial.Order.MembershipVersion, partial.Node) != Verdict.Accepted)
        {
            _staleAnswers++;
            return;
        }

        if (FindFault(partial) is { } fault)
        {
            Log.RefusedPartial(_log, _roster.NameOf(partial.Worker), fault);
            _journal.Record(JournalKind.RefusedPartial, _roster.NameOf(partial.Worker), fault);
            _steps.Reopen(partial.Node);
            Lose(partial.Worker, $"its partial for {partial.Node} was refused: {fault}");
            return;
        }

        Partial held = _pool.Rent();
        TrainingWire.ReadVector(partial.Gradient.Span).CopyTo(held.Gradient.Values);
        int position = PartialCheck.FindNonFinite(held.Gradient.Values);
        if (position >= 0 || !double.IsFinite(partial.LossSum))
        {
            string where = position >= 0 ? $"the gradient of {PartialCheck.NameOf(_run.Model, position)}" : "the loss";
            throw new RunFailedException(
                $"training has diverged: {where} is not finite ({_roster.NameOf(partial.Worker)}, {partial.Node}, epoch {_epoch + 1}, step {_step + 1}); try a smaller --learning-rate");
        }

        (held.LossSum, held.Correct, held.Samples) = (partial.LossSum, partial.Correct, partial.Samples);
        _clock.Note(partial.Worker, partial.Compute, partial.Samples);
        _sum = _reduction.Offer(partial.Node, held, out _) ?? _sum;
    }

    private string? FindFault(PartialArrived partial)
    {
        int expected = 0;
        (int first, int end) = _run.Tree.Range(partial.Node);
        for (int shard = first; shard < end; shard++)
            expected += _run.Plan.MicrobatchSamples(shard, _step);
        return partial.Gradient.Length != _weights.Bytes.Length ? $"its gradient has {partial.Gradient.Length} bytes, not {_weights.Bytes.Length}"
            : partial.Samples != expected ? $"it is over {partial.Samples} samples, not {expected}"
            : partial.Correct < 0 || partial.Correct > expected ? $"it counts {partial.Correct} right answers of {expected}"
            : null;
    }

    private void Add(BlockArrived block)
    {
        if (_state != State.Evaluating
            || (block.Order.RunId, block.Order.Epoch, block.Order.Step) != (_run.RunId, _epoch, _step)
            || _evaluation.Accept(block.Worker, block.Order.MembershipVersion, block.Block, block.LossSum, block.Correct, block.Predictions.Span) != Verdict.Accepted)
        {
            _staleAnswers++;
        }
    }

    private void Lose(int worker, string reason)
    {
        string name = _roster.NameOf(worker);
        if (!_roster.Remove(worker, reason))
            return;
        _monitor.Lost(worker);
        _monitor.Change(_roster.Membership);
        _lastLoss = $"{name} was lost: {reason}";
        _steps.Lose(worker);
        _evaluation.Lose(worker);
        FailIfAlone();
        Order();
    }

    private void FailIfAlone()
    {
        if (_run.Options.IsSingleMachine && _localWorkers == 0 && _roster.Count == 0)
            throw new RunFailedException($"no worker is left; the last, {_lastLoss}");
    }

    private void CloseSilent()
    {
        _detector.Look(Stopwatch.GetElapsedTime(_lastLook));
        _lastLook = Stopwatch.GetTimestamp();
        foreach (IWorkerLink silent in _roster.Links.Where(link => _detector.IsDead(link.Silence)).ToArray())
            Lose(silent.Member.Id, $"nothing was heard from it for {silent.Silence.TotalSeconds:0.0} s");
    }
}
