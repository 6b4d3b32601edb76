using System.Diagnostics;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Local;
using Distributed.Coordinator.Output;
using Distributed.Coordinator.Status;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Protos;

namespace Distributed.Coordinator.Training;

/// <summary>A whole `train`, from its options to the files it leaves.</summary>
internal static class TrainingRun
{
    // The size of a gradient is known once the data is loaded; workers may call before.
    private const int MaxMessageBytes = (ModelResolver.MaxParameters * sizeof(float)) + TrainingWire.MessageOverhead;

    /// <param name="loadDataset">Starts loading the data; called at once, so that the rest can start meanwhile.</param>
    /// <returns>The folder with the results, and what they are.</returns>
    /// <exception cref="ConfigurationException">The options, the model or the data are wrong.</exception>
    /// <exception cref="RunFailedException">The run could not be carried out.</exception>
    public static async Task<(string Folder, RunResult Result)> ExecuteAsync(
        RunOptions options, Func<CancellationToken, Task<LocatedDataset>> loadDataset, IRunObserver observer, RunStatus status, TextWriter notices, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        ModelDefinition model = BuiltInModels.Load(options.Model);
        RunFolder folder = RunFolder.Open(options.OutputDirectory, DateTimeOffset.Now);
        try
        {
            Task<RunDefinition> loading = Task.Run(() => DefineAsync(options, model, loadDataset, cancellation), cancellation);
            (RunDefinition run, RunResult result) = options.MaxSteps == 0
                ? await InitializeAsync(loading).ConfigureAwait(false)
                : await TrainAsync(options, loading, folder, observer, status, notices, cancellation).ConfigureAwait(false);
            WeightsFile.Write(Path.Combine(folder.Directory, "model.safetensors"), run.Model, run.Dataset.Source, result.Weights);
            RunFile.Create(run, result, Stopwatch.GetElapsedTime(start)).Write(Path.Combine(folder.Directory, "run.json"));
            status.Monitor.End(RunState.Completed);
            if (options.MaxSteps != 0)
                status.WriteReport(Path.Combine(folder.Directory, "report.html"));
            return (folder.Directory, result);
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

    private static async Task<RunDefinition> DefineAsync(
        RunOptions options, ModelDefinition model, Func<CancellationToken, Task<LocatedDataset>> loadDataset, CancellationToken cancellation)
    {
        Dataset dataset = (await loadDataset(cancellation).ConfigureAwait(false)).Dataset;
        RunDefinition run = new(options, dataset, ModelResolver.Resolve(model, dataset.Shape, dataset.Classes));
        // What only the compiler can see (nothing to train, too much for one pass) is to be said here, not by each worker.
        Network.Compile(run.Model, run.Plan.Microbatch, InstructionSets.Best).Dispose();
        return run;
    }

    /// <summary>The initial weights, for which nobody needs to compute.</summary>
    private static async Task<(RunDefinition Run, RunResult Result)> InitializeAsync(Task<RunDefinition> loading)
    {
        RunDefinition run = await loading.ConfigureAwait(false);
        float[] weights = ParameterInitializer.Create(run.Model, run.Options.Seed);
        return (run, new RunResult([], null, weights, WeightsHash.Sha256(weights), 0, 0, 0, new Phases()));
    }

    private static async Task<(RunDefinition Run, RunResult Result)> TrainAsync(
        RunOptions options, Task<RunDefinition> loading, RunFolder folder, IRunObserver observer, RunStatus status, TextWriter notices, CancellationToken cancellation)
    {
        RunInbox inbox = new();
        Task opening = Task.Run(() => status.OpenAsync(folder.Directory, cancellation), cancellation);
        await using CoordinatorServer server = await CoordinatorServer.StartAsync(options, inbox, MaxMessageBytes, cancellation).ConfigureAwait(false);
        LocalWorkers? workers = options.IsSingleMachine ? LocalWorkers.Start(options, server.LocalAddress, inbox) : null;
        try
        {
            await opening.ConfigureAwait(false);
            RunDefinition run = await loading.ConfigureAwait(false);
            status.Begin(run);
            if (workers is null)
                notices.WriteLine($"waiting for {options.MinWorkers} worker{(options.MinWorkers == 1 ? "" : "s")} at {(options.ListenAddress() is { EndPoint.Port: not 0 } listen ? listen.Text : server.LocalAddress.Authority)}");
            StepLoop loop = new(run, inbox, observer, status.Monitor, server.Logging.CreateLogger("coordinator"));
            return (run, await loop.RunAsync(cancellation).ConfigureAwait(false));
        }
        catch (Exception exception)
        {
            workers?.Abort();
            if (exception is RunFailedException && workers is not null)
            {
                foreach (string line in workers.LastWords())
                    notices.WriteLine(line);
            }

            throw;
        }
        finally
        {
            if (workers is not null)
                await workers.DisposeAsync().ConfigureAwait(false);
        }
    }
}
