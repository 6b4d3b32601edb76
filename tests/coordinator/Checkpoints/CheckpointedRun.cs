using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Optimizers;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests.Checkpoints;

/// <summary>Runs of fake workers that keep checkpoints in a directory of their own, removed with them.</summary>
internal sealed class CheckpointedRun : IDisposable
{
    // 100 samples in batches of 32: four steps an epoch.
    private readonly TinyRun _tiny = new(train: 100, test: 45);

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("checkpoints-").FullName;

    public RunJournal Journal { get; } = new(TimeProvider.System);

    /// <summary>Checkpoints that the last run passed over: paths and faults.</summary>
    public List<(string Path, string Fault)> PassedOver { get; } = [];

    public CheckpointStatus? Latest { get; private set; }

    public RunOptions Options => new()
    {
        BatchSize = 32,
        Epochs = 3,
        Workers = 2,
        TestBlockSamples = 10,
        CheckpointDirectory = Directory,
        CheckpointEvery = 1,
        StopGrace = TimeSpan.FromMilliseconds(100),
        Optimizer = OptimizerSettings.Default(OptimizerKind.Adam),
    };

    public IReadOnlyList<string> Names => [.. new DirectoryInfo(Directory).EnumerateDirectories().Select(static entry => entry.Name).Order(StringComparer.Ordinal)];

    /// <summary>A whole run, from opening the directory to the last checkpoint.</summary>
    /// <param name="store">Takes the checkpoints instead of the directory.</param>
    /// <param name="arrange">Is given the workers and what stops the run.</param>
    public async Task<RunResult> RunAsync(RunOptions? options = null, Action<FakeWorker[], CancellationTokenSource>? arrange = null, ICheckpointStore? store = null)
    {
        options ??= Options;
        PassedOver.Clear();
        using CheckpointFolder? folder = CheckpointFolder.Open(options);
        Checkpoint? start = options.Resume ? folder!.ReadNewest((path, fault) => PassedOver.Add((path, fault))) : null;
        RunDefinition run = new(options, _tiny.Dataset, _tiny.Model);
        start?.Check(run);
        RunInbox inbox = new();
        FakeWorker[] workers = [.. Enumerable.Range(1, options.Workers).Select(id => new FakeWorker(id, inbox))];
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        arrange?.Invoke(workers, stop);
        foreach (FakeWorker worker in workers)
            inbox.Post(new WorkerCalled(worker));
        CheckpointWriter? writer = folder is null ? null : new CheckpointWriter(store ?? folder, run, start, Journal, NullLogger.Instance);
        StepLoop loop = new(run, inbox, new SilentObserver(), new RunMonitor(run.Options, Journal), NullLogger.Instance, TimeProvider.System, null, null, writer, start);
        try
        {
            return await loop.RunAsync(stop.Token);
        }
        finally
        {
            Latest = writer?.Latest;
        }
    }

    /// <summary>Runs to a step, with a checkpoint after each.</summary>
    public async Task RunToAsync(int step)
    {
        for (int end = 1; end <= step; end++)
            await RunAsync(Options with { Resume = true, MaxSteps = end });
    }

    public string PathOf(string checkpoint, string file) => Path.Combine(Directory, checkpoint, file);

    public void Dispose()
    {
        _tiny.Dispose();
        if (System.IO.Directory.Exists(Directory))
            System.IO.Directory.Delete(Directory, recursive: true);
    }

    private sealed class SilentObserver : IRunObserver
    {
        public void EpochStarted(int epoch, int epochs, RunProgress progress)
        {
        }

        public void EpochEnded(EpochReport report)
        {
        }
    }
}
