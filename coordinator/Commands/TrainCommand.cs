using System.CommandLine;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Terminal;
using Distributed.Coordinator.Training;
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
        Option<int> minWorkers = Number("--min-workers", "with --workers 0: train only while at least so many are there", defaults.MinWorkers);
        Option<string?> listen = new("--listen") { Description = $"where workers call (default: a free loopback port; with --workers 0 {RunOptions.DefaultListen})", HelpName = "HOST:PORT" };
        Option<string?> output = new("--out") { Description = "folder for run.json and model.safetensors (default: runs/<time>)", HelpName = "DIR" };
        StatusSettings status = new();
        OptimizerOptions optimizer = new();
        DatasetOptions data = new($"default: {DefaultDataset}");

        Command command = new("train", "Train a model.") { workers, threads, epochs, batchSize, shards, model };
        data.AddTo(command);
        optimizer.AddTo(command);
        foreach (Option option in (ReadOnlySpan<Option>)[seed, noShuffle, maxSteps, minWorkers, listen, output])
            command.Options.Add(option);
        status.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            RunOptions options = new()
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
                Listen = parsed.GetValue(listen),
                OutputDirectory = parsed.GetValue(output),
                Status = status.Read(parsed),
            };
            options.Validate();
            // Results go to standard output, what is only of interest to standard error.
            TextWriter notices = parsed.InvocationConfiguration.Error;
            await using RunStatus shown = new(options, notices);
            try
            {
                using EpochBar? live = IsTerminal() ? new EpochBar(AnsiConsole.Console) : null;
                (string folder, RunResult result) = await TrainingRun.ExecuteAsync(
                    options,
                    token => data.LoadAsync(parsed, DefaultDataset, token),
                    live ?? (IRunObserver)new PlainDisplay(parsed.InvocationConfiguration.Output),
                    shown,
                    notices,
                    cancellation).ConfigureAwait(false);
                notices.WriteLine($"{folder}: {(result.Test is { } test ? $"test accuracy {test.Accuracy:0.0000}, test loss {test.Loss:0.0000}, " : "")}weights {result.WeightsSha256}");
            }
            finally
            {
                await shown.LingerAsync(cancellation).ConfigureAwait(false);
            }

            return 0;
        });
        return command;
    }

    private static bool IsTerminal() => !Console.IsOutputRedirected && AnsiConsole.Profile.Capabilities is { Ansi: true, Interactive: true };

    private static Option<int> Number(string name, string description, int value) =>
        new(name) { Description = description, DefaultValueFactory = _ => value };
}
