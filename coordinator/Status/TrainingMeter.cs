using System.Diagnostics.Metrics;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Status;

/// <summary>
/// The run's instruments, named by OpenTelemetry's conventions. All but the histogram are read off the monitor when
/// somebody collects; a step costs one recorded value.
/// </summary>
internal sealed class TrainingMeter : IDisposable
{
    public const string Name = "Distributed.Coordinator";

    // Bounds in seconds: from a small network on many cores to a large one on few.
    private static readonly double[] StepBounds = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5];

    private readonly Meter _meter = new(Name);
    private readonly RunMonitor _monitor;

    public TrainingMeter(RunMonitor monitor, StatusComposer composer, TimeProvider time)
    {
        _monitor = monitor;
        Histogram<double> step = _meter.CreateHistogram(
            "training.step.duration", "s", "Duration of a step, from its orders to the updated weights.", advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = StepBounds });
        monitor.OnStep = duration => step.Record(duration.TotalSeconds);

        _meter.CreateObservableCounter("training.steps", () => monitor.Steps, "{step}", "Steps made since the start of the process.");
        _meter.CreateObservableCounter("training.images", () => monitor.Images, "{image}", "Images trained on since the start of the process.");
        _meter.CreateObservableGauge("training.epoch", () => monitor.Picture.Position.Epoch, "{epoch}", "The epoch under way or last ended, from 1.");
        _meter.CreateObservableGauge("training.progress", Progress, "1", "Share of the run's steps that are done.");
        _meter.CreateObservableGauge("training.loss", () => Position(static position => position.Loss), null, "Mean cross-entropy over the epoch so far, in nats.");
        _meter.CreateObservableGauge("training.accuracy", () => Position(static position => position.Accuracy), "1", "Share of right answers over the epoch so far.");
        _meter.CreateObservableGauge("training.test.loss", () => LastEpoch(static epoch => epoch.TestLoss), null, "Mean cross-entropy on the test set at the last epoch's end, in nats.");
        _meter.CreateObservableGauge("training.test.accuracy", () => LastEpoch(static epoch => epoch.TestAccuracy), "1", "Share of the test set recognised at the last epoch's end.");
        _meter.CreateObservableCounter("training.phase.duration", Phases, "s", "Where the time of the run went; the phases follow one another.");
        _meter.CreateObservableGauge("training.state", States, null, "1 for what the run is doing, 0 for what it is not.");
        _meter.CreateObservableGauge("training.workers", () => monitor.Picture.Membership?.Members.Length ?? 0, "{worker}", "Workers that are in.");
        _meter.CreateObservableGauge("training.membership.version", () => monitor.Picture.Membership?.Version ?? 0, null, "Changes whenever a worker comes or goes or shards move.");
        CountJournal("training.worker.joins", JournalKind.Joined, "{worker}", "Workers that joined.");
        CountJournal("training.worker.evictions", JournalKind.Evicted, "{worker}", "Workers that were lost, given up, or left.");
        CountJournal("training.partials.refused", JournalKind.RefusedPartial, "{partial}", "Partial gradients that were refused before they were added.");
        CountJournal("training.worker.restarts", JournalKind.Restarted, "{worker}", "Local workers that died and were started again.");
        CountJournal("training.checkpoints", JournalKind.CheckpointWritten, "{checkpoint}", "Checkpoints that were written.");
        CountJournal("training.checkpoint.failures", JournalKind.CheckpointFailed, "{checkpoint}", "Checkpoints that could not be written, or were found damaged.");
        CountJournal("training.lease.moves", JournalKind.LeasesMoved, "{move}", "Times that shards passed from one worker to another.");
        _meter.CreateObservableCounter("training.worker.images", () => Workers(static worker => worker.Figures.Totals.Images), "{image}", "Images that a worker was trained on.");
        _meter.CreateObservableCounter("training.worker.phase.duration", WorkerPhases, "s", "Where a worker's time in steps went.");
        _meter.CreateObservableCounter("training.worker.io", WorkerTraffic, "By", "Messages to and from a worker.");
        _meter.CreateObservableGauge(
            "training.worker.throughput",
            () => composer.Status().Workers.Select(static worker => new Measurement<double>(worker.ImagesPerSecond, Tags(worker.Id, worker.Name))),
            "{image}/s",
            "A worker's throughput in the last seconds.");
        _meter.CreateObservableGauge("training.checkpoint.age", () => Checkpoint(last => (time.GetUtcNow() - last.Time).TotalSeconds), "s", "Since the last checkpoint was written.");
        _meter.CreateObservableGauge("training.checkpoint.duration", () => Checkpoint(static last => last.Seconds), "s", "How long the last checkpoint took to write.");
    }

    public void Dispose() => _meter.Dispose();

    private void CountJournal(string name, JournalKind kind, string unit, string description) =>
        _meter.CreateObservableCounter(name, () => _monitor.Journal.Count(kind), unit, description);

    private double Progress()
    {
        if (_monitor.Run is not { TotalSteps: > 0 } run || _monitor.Picture.Position is not { Epoch: > 0 } position)
            return 0;
        return ((double)(position.Epoch - 1) * run.Plan.StepsPerEpoch + position.Step) / run.TotalSteps;
    }

    // What is not known yet is not told: a loss of zero would look like a very good one.
    private IEnumerable<Measurement<double>> Position(Func<RunSnapshot, double> value) =>
        _monitor.Picture.Position is { Step: > 0 } position ? [new(value(position))] : [];

    private IEnumerable<Measurement<double>> LastEpoch(Func<EpochReport, double> value) =>
        _monitor.Picture.History is [.., var last] ? [new(value(last))] : [];

    private IEnumerable<Measurement<double>> Checkpoint(Func<CheckpointStatus, double> value) =>
        _monitor.Checkpoints() is { Path: not null } last ? [new(value(last))] : [];

    private IEnumerable<Measurement<double>> Phases()
    {
        Phases phases = _monitor.Phases;
        return
        [
            Phase(phases.Compute, "compute"), Phase(phases.Exchange, "exchange"), Phase(phases.Update, "update"), Phase(phases.Wait, "wait"), Phase(phases.Evaluate, "evaluate"),
        ];
    }

    private IEnumerable<Measurement<int>> States()
    {
        RunState now = _monitor.State;
        return Enum.GetValues<RunState>().Select(state => new Measurement<int>(state == now ? 1 : 0, new KeyValuePair<string, object?>("state", $"{state}".ToLowerInvariant())));
    }

    private IEnumerable<Measurement<long>> Workers(Func<WorkerMonitor, long> value) =>
        _monitor.Workers.Select(worker => new Measurement<long>(value(worker), Tags(worker.Member.Id, worker.Member.Name)));

    private IEnumerable<Measurement<double>> WorkerPhases()
    {
        foreach (WorkerMonitor worker in _monitor.Workers)
        {
            WorkerTotals totals = worker.Figures.Totals;
            foreach ((string phase, TimeSpan time) in ((string, TimeSpan)[])[("compute", totals.Compute), ("exchange", totals.Exchange), ("wait", totals.Wait)])
                yield return new Measurement<double>(time.TotalSeconds, [.. Tags(worker.Member.Id, worker.Member.Name), new("phase", phase)]);
        }
    }

    private IEnumerable<Measurement<long>> WorkerTraffic()
    {
        foreach (WorkerMonitor worker in _monitor.Workers)
        {
            KeyValuePair<string, object?>[] tags = Tags(worker.Member.Id, worker.Member.Name);
            yield return new Measurement<long>(worker.BytesSent, [.. tags, new("network.io.direction", "transmit")]);
            yield return new Measurement<long>(worker.BytesReceived, [.. tags, new("network.io.direction", "receive")]);
        }
    }

    private static KeyValuePair<string, object?>[] Tags(int id, string name) => [new("worker.id", id), new("worker.name", name)];

    private static Measurement<double> Phase(double seconds, string name) => new(seconds, new KeyValuePair<string, object?>("phase", name));
}
