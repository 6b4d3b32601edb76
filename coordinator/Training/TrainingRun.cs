using System.Diagnostics;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Local;
using Distributed.Coordinator.Output;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Status;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Exchange;
using Distributed.Models;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>How a run that was not broken off ended.</summary>
/// <param name="Folder">Where its results are.</param>
/// <param name="CheckpointError">Why its last checkpoint could not be written; null when it could, or none was wanted.</param>
internal sealed record RunOutcome(string Folder, RunResult Result, string? CheckpointError);

/// <summary>A whole `train`, from its options to the files it leaves.</summary>
internal static class TrainingRun
{
    // The size of a gradient is known once the data is loaded; workers may call before.
    private const int MaxMessageBytes = (ModelResolver.MaxParameters * sizeof(float)) + TrainingWire.MessageOverhead;

    /// <param name="loadDataset">Starts loading the data; called at once, so that the rest can start meanwhile.</param>
    /// <exception cref="ConfigurationException">The options, the model or the data are wrong.</exception>
    /// <exception cref="RunFailedException">The run could not be carried out.</exception>
    /// <exception cref="OperationCanceledException">It was told to stop; where the checkpoint is, stands in the notices.</exception>
    public static async Task<RunOutcome> ExecuteAsync(
        RunOptions options, Func<CancellationToken, Task<LocatedDataset>> loadDataset, IRunObserver observer, RunStatus status, TextWriter notices, CancellationToken cancellation)
    {
        long began = Stopwatch.GetTimestamp();
        options.Validate();
        Admission admission = Admission.Open(options);
        ModelDefinition model = BuiltInModels.Load(options.Model);
        RunJournal journal = status.Monitor.Journal;
        using CheckpointFolder? checkpoints = CheckpointFolder.Open(options);
        RunFolder folder = RunFolder.Open(options.OutputDirectory, DateTimeOffset.Now);
        try
        {
            Checkpoint? start = options.Resume ? FindStart(checkpoints!, options, journal, notices) : null;
            Task<RunDefinition> loading = Task.Run(() => DefineAsync(options, model, start, loadDataset, cancellation), cancellation);
            (RunDefinition run, RunResult result, CheckpointStatus? checkpoint) = options.MaxSteps == 0 || start?.Position.IsEndOf(options) == true
                ? await SkipTrainingAsync(loading, start).ConfigureAwait(false)
                : await TrainAsync(options, admission, loading, folder, checkpoints, start, observer, status, notices, cancellation).ConfigureAwait(false);
            WeightsFile.Write(Path.Combine(folder.Directory, "model.safetensors"), run.Model, run.Dataset.Source, result.Weights);
            TimeSpan elapsed = Stopwatch.GetElapsedTime(began) + TimeSpan.FromSeconds(start?.Position.Seconds ?? 0);
            RunFile.Create(run, result, elapsed).Write(Path.Combine(folder.Directory, "run.json"));
            status.Monitor.End(RunState.Completed);
            if (status.IsOpen)
                status.WriteReport(Path.Combine(folder.Directory, "report.html"));
            return new RunOutcome(folder.Directory, result, checkpoint?.LastError);
        }
        catch (Exception exception)
        {
            bool isTold = cancellation.IsCancellationRequested;
            status.Monitor.End(isTold ? RunState.Stopping : RunState.Failed, isTold ? null : exception.Message);
            throw;
        }
        finally
        {
            folder.RemoveIfEmpty();
        }
    }

    private static Checkpoint? FindStart(CheckpointFolder checkpoints, RunOptions options, RunJournal journal, TextWriter notices)
    {
        Checkpoint? start = checkpoints.ReadNewest((path, fault) =>
        {
            journal.Record(JournalKind.CheckpointFailed, null, $"{path} was passed over: {fault}");
            notices.WriteLine($"checkpoint {path} is passed over: {fault}");
        });
        if (start is null)
        {
            notices.WriteLine($"no checkpoint in {options.CheckpointDirectory} yet: starting at the beginning");
            return null;
        }

        journal.Record(JournalKind.Resumed, null, $"from {start.Path} at {start.Position}");
        notices.WriteLine($"resuming from {start.Path}: {start.Position}");
        return start;
    }

    private static async Task<RunDefinition> DefineAsync(
        RunOptions options,
        ModelDefinition model,
        Checkpoint? start,
        Func<CancellationToken, Task<LocatedDataset>> loadDataset,
        CancellationToken cancellation)
    {
        Dataset dataset = (await loadDataset(cancellation).ConfigureAwait(false)).Dataset;
        RunDefinition run = new(options, dataset, ModelResolver.Resolve(model, dataset.Shape, dataset.Classes));
        // What only the compiler can see (nothing to train, too much for one pass) is to be said here, not by each worker.
        Network.Compile(run.Model, run.Plan.Microbatch, InstructionSets.Best).Dispose();
        start?.Check(run);
        return run;
    }

    /// <summary>The initial weights, or those of a run that was done before: nobody needs to compute.</summary>
    private static async Task<(RunDefinition Run, RunResult Result, CheckpointStatus? Checkpoint)> SkipTrainingAsync(Task<RunDefinition> loading, Checkpoint? start)
    {
        RunDefinition run = await loading.ConfigureAwait(false);
        float[] weights = start?.Weights ?? ParameterInitializer.Create(run.Model, run.Options.Seed);
        RunPosition position = start?.Position ?? RunPosition.Start(run.Plan.StepsPerEpoch);
        return (run, new RunResult(position.Reports, null, weights, WeightsHash.Sha256(weights), position.Workers, position.LeasesMoved, 0, position.Phases), null);
    }

    private static async Task<(RunDefinition Run, RunResult Result, CheckpointStatus? Checkpoint)> TrainAsync(
        RunOptions options,
        Admission admission,
        Task<RunDefinition> loading,
        RunFolder folder,
        CheckpointFolder? checkpoints,
        Checkpoint? start,
        IRunObserver observer,
        RunStatus status,
        TextWriter notices,
        CancellationToken cancellation)
    {
        using SharedExchange? shared = SharedExchange.Open(options.Exchange);
        ExchangeSeam exchange = new(shared);
        RunInbox inbox = shared is null ? new() : new(shared.Bell);
        RunJournal journal = status.Monitor.Journal;
        Task opening = Task.Run(() => status.OpenAsync(folder.Directory, cancellation), cancellation);
        CheckpointWriter? writer = null;
        await using CoordinatorServer server = await CoordinatorServer.StartAsync(options, admission, exchange, inbox, journal, MaxMessageBytes, cancellation).ConfigureAwait(false);
        LocalWorkers? workers = options.IsSingleMachine ? LocalWorkers.Start(options, server.LocalAddress, admission.LocalToken, inbox) : null;
        try
        {
            await opening.ConfigureAwait(false);
            RunDefinition run = await loading.ConfigureAwait(false);
            status.Begin(run);
            // A step has at most one partial for each shard, and before all of them are given back the next ones may be there.
            exchange.Vectors.Keep(run.Model.ParameterCount, 2 * options.Shards);
            exchange.Vectors.Keep(run.Chunks, 2 * options.Shards);
            if (workers is null)
                notices.WriteLine($"waiting for {options.MinWorkers} worker{(options.MinWorkers == 1 ? "" : "s")} at {server.ListensAt}");
            ILogger log = server.Logging.CreateLogger(CoordinatorServer.LogCategory);
            writer = checkpoints is null ? null : new CheckpointWriter(checkpoints, run, start, journal, log);
            if (writer is { } checkpointing)
                status.Monitor.Checkpoints = () => checkpointing.Latest;
            using LedgerFile? ledger = options.Ledger is { } path ? new LedgerFile(path, run.Tree) : null;
            VectorBuffer? weights = shared?.TryCreateWeights(run.Model.ParameterCount);
            if (weights is null && options.Exchange == ExchangeChoice.Shm)
                throw new RunFailedException("--exchange shm: there is no room for the weights in shared memory");
            StepLoop loop = new(run, inbox, observer, status.Monitor, log, TimeProvider.System, workers, ledger, writer, start, weights);
            return (run, await loop.RunAsync(cancellation).ConfigureAwait(false), writer?.Latest);
        }
        catch (Exception exception)
        {
            workers?.Abort();
            if (exception is RunFailedException && workers is not null)
            {
                foreach (string line in workers.LastWords())
                    notices.WriteLine(line);
            }

            if (exception is OperationCanceledException or RunFailedException && loading.IsCompletedSuccessfully)
                notices.WriteLine(DescribeStop(writer, start));
            throw;
        }
        finally
        {
            if (workers is not null)
                await workers.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>What is kept of a run that was broken off, and how to go on.</summary>
    private static string DescribeStop(CheckpointWriter? writer, Checkpoint? start)
    {
        if (writer is null)
            return "stopped; nothing is kept of the run, for there was no --checkpoint-dir";
        string newest = writer.Latest?.Path is { } path ? $"checkpoint {path} (epoch {writer.Latest.Epoch}, step {writer.Latest.Step})"
            : start is not null ? $"checkpoint {start.Path} ({start.Position})"
            : "";
        string fault = writer.Latest?.LastError is { } error ? $"the last checkpoint could not be written: {error}; " : "";
        return $"stopped; {fault}{(newest.Length > 0 ? $"go on from {newest} with the same command and --resume" : "there is no checkpoint yet")}";
    }
}
