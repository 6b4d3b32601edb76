using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Serialization;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Status;

/// <summary>What GET /status says. Its field names, in snake case, are a contract; null is what is not known yet.</summary>
internal sealed record StatusDocument(
    [property: Description("Id of the run; null while the data is being loaded.")] string? Run,
    [property: Description("When the coordinator began with it.")] DateTimeOffset Started,
    [property: Description("What the run is doing.")] RunState State,
    [property: Description("Why the run failed.")] string? Failure,
    [property: Description("As given with --model.")] string Model,
    [property: Description("As given with --dataset.")] string? Dataset,
    [property: Description("Trainable parameters of the model.")] int? Parameters,
    [property: Description("What weights and gradients are rounded to before they travel: float32 or bf16.")] string Wire,
    [property: Description("The epoch under way or last ended, from 1; 0 before the first.")] int Epoch,
    [property: Description("Epochs of the run.")] int Epochs,
    [property: Description("Steps made in the epoch.")] int Step,
    [property: Description("Steps of a whole epoch.")] int? StepsPerEpoch,
    [property: Description("Steps made in the run.")] long StepsDone,
    [property: Description("Steps of the whole run.")] long? TotalSteps,
    [property: Description("Mean cross-entropy over the epoch so far, in nats.")] double? Loss,
    [property: Description("Share of right answers over the epoch so far.")] double? Accuracy,
    [property: Description("Mean cross-entropy on the test set at the last epoch's end, in nats.")] double? TestLoss,
    [property: Description("Share of the test set recognised at the last epoch's end.")] double? TestAccuracy,
    [property: Description("Throughput of training in the last seconds; of the last epoch once the run has completed.")] double ImagesPerSecond,
    [property: Description("Seconds since the start of the coordinator, up to the run's end.")] double ElapsedSeconds,
    [property: Description("Seconds to the end at the present pace; null where there is none.")] double? EtaSeconds,
    [property: Description("Version of the membership: changes whenever a worker comes or goes or shards move.")] long MembershipVersion,
    [property: JsonPropertyName("weights_sha256"), Description("SHA-256 of the weights at the last epoch's end.")] string? WeightsSha256,
    [property: Description("Workers that are in, and those lost last.")] IReadOnlyList<WorkerDocument> Workers,
    [property: Description("An entry for each epoch that has ended.")] IReadOnlyList<HistoryDocument> History,
    [property: Description("The last checkpoint; null while there is none.")] CheckpointDocument? Checkpoint,
    [property: Description("The last 100 things that befell the run, oldest first.")] IReadOnlyList<EventDocument> Events);

/// <summary>A worker in /status. Times are means a step over the last seconds and add up to step_ms.</summary>
internal sealed record WorkerDocument(
    [property: Description("Unique in the run, from 1.")] int Id,
    string Name,
    [property: Description("Where it called from.")] string Address,
    WorkerState State,
    [property: Description("Its compute threads.")] int Threads,
    [property: Description("What its engine runs on, such as AVX2.")] string InstructionSet,
    [property: Description("How weights and gradients travel: grpc, or shm for shared memory.")] string Exchange,
    [property: Description("The shards that it leases.")] IReadOnlyList<int> Shards,
    [property: Description("Steps to which it contributed.")] long Steps,
    [property: Description("Its part of the run's throughput.")] double ImagesPerSecond,
    [property: Description("Duration of a step.")] double StepMs,
    [property: Description("The worker computing.")] double ComputeMs,
    [property: Description("Weights and gradients on the wire and in queues.")] double ExchangeMs,
    [property: Description("Others being slower, or the coordinator adding and updating.")] double WaitMs,
    [property: Description("To the worker over the network since it joined; shared memory is not counted.")] long BytesSent,
    [property: Description("From the worker, likewise.")] long BytesReceived,
    [property: Description("How long ago anything was heard from it.")] double LastHeartbeatMs);

/// <summary>An epoch in /status, with the same values as in run.json.</summary>
internal sealed record HistoryDocument(
    int Epoch,
    int Steps,
    [property: Description("Images trained on in it.")] long Samples,
    double Seconds,
    double ImagesPerSecond,
    double Loss,
    double Accuracy,
    double TestLoss,
    double TestAccuracy,
    [property: JsonPropertyName("weights_sha256")] string WeightsSha256);

/// <summary>The last checkpoint in /status.</summary>
internal sealed record CheckpointDocument(
    [property: Description("Where it is, on the coordinator's machine; null when none was written yet.")] string? Path,
    [property: Description("Of the checkpoint, from 1.")] int Epoch,
    [property: Description("Steps made in that epoch.")] int Step,
    DateTimeOffset? Time,
    [property: Description("How long it took to write.")] double DurationMs,
    long Bytes,
    [property: Description("Why the last attempt to write one failed; null when it did not.")] string? LastError);

/// <summary>One thing that befell the run.</summary>
internal sealed record EventDocument(
    [property: Description("Counted from 1 since the start.")] long Number,
    DateTimeOffset Time,
    JournalKind Kind,
    [property: Description("The worker concerned, if one is.")] string? Worker,
    [property: Description("A sentence for people.")] string Text);

/// <summary>What GET /curve says: columns of equal length, a point for every so many steps of the run.</summary>
internal sealed record CurveDocument(
    [property: Description("Steps that a point is the mean of.")] int StepsPerPoint,
    [property: Description("Steps of the run at the end of the point.")] long[] Step,
    double[] Loss,
    double[] Accuracy,
    double[] ImagesPerSecond);

/// <summary>What GET /result says: how the test set was answered at the end of the last epoch.</summary>
internal sealed record ResultDocument(
    int Epoch,
    int Images,
    double TestLoss,
    double TestAccuracy,
    [property: Description("By label, then by what it was taken for.")] int[][] ConfusionMatrix,
    [property: Description("How many were answered wrongly.")] int Wrong,
    int Height,
    int Width,
    int Channels,
    [property: Description("The first of the images that were answered wrongly.")] IReadOnlyList<MistakeDocument> Mistakes);

/// <summary>A test image that was taken for another class.</summary>
internal sealed record MistakeDocument(
    [property: Description("In the test set, from 0.")] int Index,
    int Label,
    int Prediction,
    [property: Description("A byte a pixel, (height, width, channels), in Base64.")] byte[] Pixels);

/// <summary>What /healthz and /readyz say.</summary>
internal sealed record HealthDocument(string Status, RunState State);

[JsonSourceGenerationOptions(JsonSerializerDefaults.General, PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(StatusDocument))]
[JsonSerializable(typeof(CurveDocument))]
[JsonSerializable(typeof(ResultDocument))]
[JsonSerializable(typeof(HealthDocument))]
[JsonSerializable(typeof(ReportDocument))]
internal sealed partial class StatusJson : JsonSerializerContext;
