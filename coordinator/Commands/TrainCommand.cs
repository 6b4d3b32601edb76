using System.CommandLine;
using Distributed.CommandLine;
using Distributed.Coordinator.Status;
using Distributed.Exchange;
using Distributed.Coordinator.Terminal;
using Distributed.Coordinator.Training;
using Distributed.Reduction;
using Spectre.Console;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator train: trains with worker processes, here or from elsewhere.</summary>
internal static class TrainCommand
{
    private const string DefaultDataset = "mnist";

    public static Command Create()
    {
        RunOptions defaults = new();
        Option<string> model = new("--model") { Description = "convnet, dense, or a model file", DefaultValueFactory = _ => defaults.Model, HelpName = "convnet|dense|FILE.json" };
        Option<int> epochs = Number("--epochs", "passes over the training set", defaults.Epochs);
        Option<int> batchSize = Number("--batch-size", "samples a step", defaults.BatchSize);
        Option<int> shards = Number("--shards", "parts of every batch that workers share out; the result depends on it, not on the workers", defaults.Shards);
        Option<ulong> seed = new("--seed") { Description = "of initial weights, order and dropout", DefaultValueFactory = _ => defaults.Seed };
        Option<bool> noShuffle = new("--no-shuffle") { Description = "take the samples in file order" };
        Option<int?> maxSteps = new("--max-steps") { Description = "end after so many steps; 0 writes the initial weights" };
        Option<int> workers = Number("--workers", "worker processes to start here; 0 waits for workers from elsewhere", defaults.Workers);
        Option<int?> threads = new("--threads") { Description = "compute threads of each worker started here (default: cores / workers)" };
        Option<int> minWorkers = Number("--min-workers", "train only while at least so many workers are there", defaults.MinWorkers);
        Option<double> workerTimeout = Seconds("--worker-timeout", "seconds to wait for workers while too few are there", defaults.WorkerTimeout);
        Option<int> maxRestarts = Number("--max-restarts", "how often, in a run, a worker started here that has died is replaced", defaults.MaxRestarts);
        Option<double> heartbeatInterval = Seconds("--heartbeat-interval", "seconds from one sign of life to the next", defaults.HeartbeatInterval);
        Option<double> heartbeatTimeout = Seconds("--heartbeat-timeout", "seconds within which a silent worker is given up", defaults.HeartbeatTimeout);
        Option<string?> ledger = new("--ledger") { Description = "file that gets a line for each step: who computed which shards", HelpName = "FILE" };
        Option<string?> listen = new("--listen") { Description = $"where workers call (default: a free loopback port; with --workers 0 {RunOptions.DefaultListen})", HelpName = "HOST:PORT" };
        Option<string?> output = new("--out") { Description = "folder for run.json and model.safetensors (default: runs/<time>)", HelpName = "DIR" };
        Option<string?> checkpoints = new("--checkpoint-dir") { Description = "folder for checkpoints (default: none are written)", HelpName = "DIR" };
        Option<int> checkpointEvery = Number("--checkpoint-every", "steps from checkpoint to checkpoint, beside those at epoch ends; 0: only those", defaults.CheckpointEvery);
        Option<bool> resume = new("--resume") { Description = "go on from the newest checkpoint, if there is one" };
        Option<ExchangeChoice> exchange = new("--exchange") { Description = "how weights and gradients travel: over shared memory (shm) where a worker is on this host, else grpc; or one of them alone", DefaultValueFactory = _ => defaults.Exchange, HelpName = "auto|shm|grpc" };
        Option<string> wire = new("--wire") { Description = "what weights and gradients are rounded to before they travel: float32 (not at all) or, for slow links, bf16 with half the bytes; the result depends on it", DefaultValueFactory = _ => defaults.Wire.Word(), HelpName = "float32|bf16" };
        Option<int?> chunk = new("--chunk-kb") { Description = "kilobytes of a vector in each message over gRPC, so that sending and receiving overlap; 0: whole vectors (default: whole on this host, else 24)", HelpName = "KB" };
        SecurityOptions security = new();
        StatusSettings status = new();
        OptimizerOptions optimizer = new();
        DatasetOptions data = new($"default: {DefaultDataset}");

        Command command = new("train", "Train a model.") { workers, threads, epochs, batchSize, shards, model };
        data.AddTo(command);
        optimizer.AddTo(command);
        foreach (Option option in (ReadOnlySpan<Option>)[seed, noShuffle, maxSteps, minWorkers, workerTimeout, maxRestarts, heartbeatInterval, heartbeatTimeout, listen, exchange, wire, chunk, checkpoints, checkpointEvery, resume, output, ledger])
            command.Options.Add(option);
        security.AddTo(command);
        status.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            RunOptions options = security.Read(parsed, new RunOptions
            {
                Model = parsed.GetValue(model)!,
                Optimizer = optimizer.Read(parsed),
                Epochs = parsed.GetValue(epochs),
                BatchSize = parsed.GetValue(batchSize),
                Shards = parsed.GetValue(shards),
                Seed = parsed.GetValue(seed),
                Shuffle = !parsed.GetValue(noShuffle),
                MaxSteps = parsed.GetValue(maxSteps),
                Workers = parsed.GetValue(workers),
                Threads = parsed.GetValue(threads),
                MinWorkers = parsed.GetValue(minWorkers),
                WorkerTimeout = ReadSeconds(parsed, workerTimeout),
                MaxRestarts = parsed.GetValue(maxRestarts),
                HeartbeatInterval = ReadSeconds(parsed, heartbeatInterval),
                HeartbeatTimeout = ReadSeconds(parsed, heartbeatTimeout),
                Ledger = parsed.GetValue(ledger),
                Listen = parsed.GetValue(listen),
                Exchange = parsed.GetValue(exchange),
                Wire = WirePrecisions.Parse(parsed.GetValue(wire)!),
                ChunkBytes = parsed.GetValue(chunk) * 1024L,
                CheckpointDirectory = parsed.GetValue(checkpoints),
                CheckpointEvery = parsed.GetValue(checkpointEvery),
                Resume = parsed.GetValue(resume),
                OutputDirectory = parsed.GetValue(output),
                Status = status.Read(parsed),
            });
            // Results go to standard output, what is only of interest to standard error.
            TextWriter notices = parsed.InvocationConfiguration.Error;
            await using RunStatus shown = new(options, notices);
            try
            {
                using EpochBar? live = IsTerminal() ? new EpochBar(AnsiConsole.Console) : null;
                RunOutcome outcome = await TrainingRun.ExecuteAsync(
                    options,
                    token => data.LoadAsync(parsed, DefaultDataset, token),
                    live ?? (IRunObserver)new PlainDisplay(parsed.InvocationConfiguration.Output),
                    shown,
                    notices,
                    cancellation).ConfigureAwait(false);
                RunResult result = outcome.Result;
                string scores = result.LastEpoch is { } last ? $"test accuracy {last.TestAccuracy:0.0000}, test loss {last.TestLoss:0.0000}, " : "";
                notices.WriteLine($"{outcome.Folder}: {scores}weights {result.WeightsSha256}");
                if (outcome.CheckpointError is { } error)
                    throw new RunFailedException($"the run is done, but its last checkpoint could not be written: {error}");
            }
            catch (RunFailedException failure) when (shown.IsLingering && !cancellation.IsCancellationRequested)
            {
                // Said before the wait, and not lost to the interruption that ends it.
                notices.WriteLine($"coordinator: {failure.Message}");
                await shown.LingerAsync(cancellation).ConfigureAwait(false);
                return CommandLineHost.Failed;
            }

            await shown.LingerAsync(cancellation).ConfigureAwait(false);
            return 0;
        });
        return command;
    }

    private static bool IsTerminal() => !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities is { Ansi: true, Interactive: true };

    private static Option<int> Number(string name, string description, int value) =>
        new(name) { Description = description, DefaultValueFactory = _ => value };

    private static Option<double> Seconds(string name, string description, TimeSpan value) =>
        new(name) { Description = description, DefaultValueFactory = _ => value.TotalSeconds, HelpName = "SECONDS" };

    private static TimeSpan ReadSeconds(ParseResult parsed, Option<double> option)
    {
        double seconds = parsed.GetValue(option);
        // What no TimeSpan can hold is out of every range.
        return Math.Abs(seconds) < TimeSpan.MaxValue.TotalSeconds / 2
            ? TimeSpan.FromSeconds(seconds)
            : throw new ConfigurationException($"{option.Name} cannot be {seconds} seconds");
    }
}
