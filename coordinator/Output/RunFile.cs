using System.Text.Json;
using System.Text.Json.Serialization;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Output;

/// <summary>run.json: what was asked for and what came of it. Its field names are a contract.</summary>
internal sealed record RunFile(
    RunConfiguration Configuration,
    IReadOnlyList<EpochEntry> Epochs,
    double? TestLoss,
    double? TestAccuracy,
    [property: JsonPropertyName("weights_sha256")] string WeightsSha256,
    double Seconds,
    int Workers,
    int LeasesMoved,
    Phases Phases)
{
    public static RunFile Create(RunDefinition run, RunResult result, TimeSpan elapsed) => new(
        RunConfiguration.Create(run),
        [.. result.Epochs.Select(static epoch => new EpochEntry(
            epoch.Epoch, epoch.Samples, epoch.Seconds, epoch.ImagesPerSecond, epoch.Loss, epoch.Accuracy, epoch.TestLoss, epoch.TestAccuracy, epoch.WeightsSha256))],
        result.LastEpoch?.TestLoss,
        result.LastEpoch?.TestAccuracy,
        result.WeightsSha256,
        elapsed.TotalSeconds,
        result.Workers,
        result.LeasesMoved,
        result.Phases);

    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public void Write(string path) => AtomicFile.WriteAllBytes(path, JsonSerializer.SerializeToUtf8Bytes(this, RunFileContext.Default.RunFile));
}

/// <summary>An epoch in run.json.</summary>
internal sealed record EpochEntry(
    int Epoch,
    long Samples,
    double Seconds,
    double ImagesPerSecond,
    double Loss,
    double Accuracy,
    double TestLoss,
    double TestAccuracy,
    [property: JsonPropertyName("weights_sha256")] string WeightsSha256);

/// <summary>Everything in run.json that the weights depend on, and what is only of interest.</summary>
internal sealed record RunConfiguration(
    string Model,
    int Parameters,
    string Dataset,
    int TrainingSamples,
    int TestSamples,
    int Epochs,
    int BatchSize,
    int Shards,
    ulong Seed,
    bool Shuffle,
    int? MaxSteps,
    OptimizerSettings Optimizer,
    string Wire,
    int Workers,
    int? ThreadsPerWorker)
{
    public static RunConfiguration Create(RunDefinition run) => new(
        run.Options.Model,
        run.Model.ParameterCount,
        run.Dataset.Source,
        run.Dataset.Train.Count,
        run.Dataset.Test.Count,
        run.Options.Epochs,
        run.Options.BatchSize,
        run.Options.Shards,
        run.Options.Seed,
        run.Options.Shuffle,
        run.Options.MaxSteps,
        run.Options.Optimizer,
        run.Options.Wire.Word(),
        run.Options.Workers,
        run.Options.IsSingleMachine ? run.Options.LocalThreads : null);
}

[JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UseStringEnumConverter = true)]
[JsonSerializable(typeof(RunFile))]
internal sealed partial class RunFileContext : JsonSerializerContext;
