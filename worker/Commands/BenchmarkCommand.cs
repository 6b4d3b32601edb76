using System.CommandLine;
using Distributed.Data;
using Distributed.Data.Fetching;
using Distributed.Models;
using Distributed.Worker.Compute;

namespace Distributed.Worker.Commands;

/// <summary>worker benchmark: the engine alone, on real batches after some training.</summary>
internal static class BenchmarkCommand
{
    public static Command Create()
    {
        Option<int> threads = new("--threads") { Description = "compute threads", DefaultValueFactory = static _ => Environment.ProcessorCount };
        Option<int> steps = new("--steps") { Description = "steps to time", DefaultValueFactory = static _ => 1000 };
        Option<string> model = new("--model") { Description = "convnet, dense, or a model file", DefaultValueFactory = static _ => "convnet" };
        Option<string> dataset = new("--dataset") { Description = "mnist, fashion-mnist, or a directory of IDX files", DefaultValueFactory = static _ => "mnist" };
        Option<string?> dataDirectory = new("--data-dir") { Description = "where the data set's files are (default: the user's cache, filled from the network)" };
        Option<int> batchSize = new("--batch-size") { Description = "samples a step", DefaultValueFactory = static _ => 64 };
        Option<int> shards = new("--shards") { Description = "microbatches a step", DefaultValueFactory = static _ => 8 };
        Command command = new("benchmark", "Time training steps without a coordinator; the last line of the output is JSON.")
        {
            threads, steps, model, dataset, dataDirectory, batchSize, shards,
        };
        command.SetAction(async (parsed, cancellation) =>
        {
            int threadCount = Require("--threads", parsed.GetValue(threads), 1024);
            int stepCount = Require("--steps", parsed.GetValue(steps), 100_000_000);
            DatasetSource source = new(new DatasetSourceOptions());
            Dataset data = (await source.LoadAsync(parsed.GetValue(dataset)!, parsed.GetValue(dataDirectory), progress: null, cancellation).ConfigureAwait(false)).Dataset;
            ShardPlan plan;
            try
            {
                plan = new ShardPlan(data.Train.Count, parsed.GetValue(batchSize), parsed.GetValue(shards), seed: 1, shuffle: true);
            }
            catch (ArgumentException exception)
            {
                throw new ConfigurationException($"--batch-size, --shards: {exception.Message.Split(" (Parameter")[0]}", exception);
            }

            ResolvedModel resolved = ModelResolver.Resolve(BuiltInModels.Load(parsed.GetValue(model)!), data.Shape, data.Classes);
            using EngineBenchmark benchmark = new(resolved, plan, data.Train, threadCount);
            parsed.InvocationConfiguration.Output.WriteLine(benchmark.Run(stepCount, cancellation).ToJson());
            return 0;
        });
        return command;
    }

    private static int Require(string option, int value, int most) =>
        value >= 1 && value <= most ? value : throw new ConfigurationException($"{option} must be from 1 to {most:N0}, not {value}");
}
