using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Distributed.Tests.Cluster;
using Distributed.Tests.Data;

namespace Distributed.Tests.Status;

/// <summary>A real run, watched while workers join and leave.</summary>
public sealed class RunTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Status_ThroughoutARunWithWorkersComingAndGoing_KeepsToItsSchemaAndAgreesWithRunJson()
    {
        // Many seconds of training, of which the worker's end falls into the first.
        using TinyDataset data = new(train: 3840);
        using TrainingRun files = new();
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "0", "--min-workers", "2", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--linger", "--tensorboard", "--out", files.Out,
            "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "150");
        using HttpClient client = new() { BaseAddress = await StatusAddressAsync(coordinator) };
        string listen = (await coordinator.LineAsync(static line => line.Contains("waiting for 2 workers at ", StringComparison.Ordinal))).Split(' ')[^1];
        StatusSchema schema = await StatusSchema.FetchAsync(client);
        ConcurrentQueue<JsonNode> seen = new();
        Task watching = WatchAsync(client, schema, seen);

        await using ProgramRun first = Join(listen, "first");
        await EventReader.UntilAsync(client, static status => status["workers"]!.AsArray().Count == 1 && status.State() == "waiting");
        ProgramRun second = Join(listen, "second");
        await using (second)
            await EventReader.UntilAsync(client, static status => status.State() == "training" && status["epoch"]!.GetValue<int>() >= 2);

        // Killed as it is disposed: with one left of at least two, the run must wait, and says so.
        JsonNode paused = await EventReader.UntilAsync(client, static status => status.State() == "paused");
        JsonNode lost = paused["workers"]!.AsArray().Single(static worker => worker!["name"]!.GetValue<string>() == "second")!;
        Assert.Equal("lost", lost["state"]!.GetValue<string>());
        Assert.Contains(paused["events"]!.AsArray(), static entry => entry!["kind"]!.GetValue<string>() == "evicted" && entry["worker"]!.GetValue<string>() == "second");
        await using ProgramRun third = Join(listen, "third");
        JsonNode end = await EventReader.UntilAsync(client, static status => status.State() == "completed");
        await coordinator.LineAsync(static line => line.Contains("stays up until interrupted", StringComparison.Ordinal));
        JsonNode final = JsonNode.Parse(await client.GetStringAsync("/status", Cancellation))!;
        coordinator.Signal(PosixSignalNumber.Interrupt);
        await coordinator.SucceedAsync();
        await watching;

        CheckAgreement(end, files.Json);
        CheckAgreement(final, files.Json);
        CheckOrder([.. seen]);
        Assert.True(File.Exists(Path.Combine(files.Out, "report.html")));
        string events = Assert.Single(Directory.GetFiles(Path.Combine(files.Out, "tensorboard", "validation")));
        Assert.Equal(150, TensorBoardTests.Read(File.ReadAllBytes(events)).Count(static one => one.Scalars.Count > 0));
    }

    [Fact]
    public async Task Events_OfARunThatFails_EndWithTheFailure()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "1", "--threads", "1", "--max-restarts", "0", "--status", "127.0.0.1:0", "--out", files.Out,
            "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "1000000");
        using HttpClient client = new() { BaseAddress = await StatusAddressAsync(coordinator) };
        JsonNode? last = null;
        bool hasEnded = false, isKilled = false;
        await foreach (JsonNode status in EventReader.ReadAsync(client, () => hasEnded = true))
        {
            last = status;
            if (!isKilled && status.State() == "training")
            {
                isKilled = true;
                foreach (int worker in coordinator.Children())
                    ProgramRun.Kill(worker);
            }
        }

        Assert.True(hasEnded);
        Assert.Equal("failed", last!.State());
        Assert.Contains("no worker is left", last!["failure"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Equal(1, await coordinator.ExitAsync());
    }

    [Fact]
    public async Task Run_ThatFailsAndLingers_SaysWhyAtOnceAndKeepsItsExitCode()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "1", "--threads", "1", "--max-restarts", "0", "--status", "127.0.0.1:0", "--linger", "--out", files.Out,
            "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "1000000");
        using HttpClient client = new() { BaseAddress = await StatusAddressAsync(coordinator) };
        await EventReader.UntilAsync(client, static status => status.State() == "training");
        foreach (int worker in coordinator.Children())
            ProgramRun.Kill(worker);
        await coordinator.LineAsync(static line => line.StartsWith("coordinator: no worker is left", StringComparison.Ordinal));
        await coordinator.LineAsync(static line => line.Contains("stays up until interrupted", StringComparison.Ordinal));
        // An answer may be a moment old.
        await EventReader.UntilAsync(client, static status => status.State() == "failed");
        coordinator.Signal(PosixSignalNumber.Interrupt);
        Assert.Equal(1, await coordinator.ExitAsync());
    }

    [Fact]
    public async Task Train_WithAStatusPortInUse_RefusesNamingIt()
    {
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();
        string address = taken.LocalEndpoint.ToString()!;
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = ProgramRun.Coordinator(
            "train", "--status", address, "--out", files.Out, "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16");
        Assert.Equal(2, await run.ExitAsync());
        Assert.Equal($"coordinator: --status {address}: the port is in use\n", run.Errors);
    }

    internal static async Task<Uri> StatusAddressAsync(ProgramRun coordinator) =>
        new((await coordinator.LineAsync(static line => line.StartsWith("status at ", StringComparison.Ordinal))).Split(' ')[^1]);

    private static ProgramRun Join(string listen, string name) => ProgramRun.Worker("--coordinator", $"http://{listen}", "--threads", "1", "--name", name);

    /// <summary>Holds every status against the schema, by both ways of getting one, until the endpoint is gone.</summary>
    private static async Task WatchAsync(HttpClient client, StatusSchema schema, ConcurrentQueue<JsonNode> seen)
    {
        await foreach (JsonNode status in EventReader.ReadAsync(client))
        {
            schema.Check("StatusDocument", status);
            seen.Enqueue(status);
            if (status.State() != "completed")
                schema.Check("StatusDocument", JsonNode.Parse(await client.GetStringAsync("/status", Cancellation)));
        }
    }

    /// <summary>What is counted only grows, and the epoch's entry is there once the next epoch has begun.</summary>
    private static void CheckOrder(JsonNode[] seen)
    {
        Assert.True(seen.Length > 3);
        for (int i = 1; i < seen.Length; i++)
        {
            Assert.True(seen[i]["steps_done"]!.GetValue<long>() >= seen[i - 1]["steps_done"]!.GetValue<long>());
            Assert.True(seen[i]["membership_version"]!.GetValue<long>() >= seen[i - 1]["membership_version"]!.GetValue<long>());
            Assert.InRange(seen[i]["history"]!.AsArray().Count, Math.Max(0, seen[i]["epoch"]!.GetValue<int>() - 1), seen[i]["epoch"]!.GetValue<int>());
        }
    }

    private static void CheckAgreement(JsonNode status, JsonElement run)
    {
        JsonElement[] epochs = [.. run.GetProperty("epochs").EnumerateArray()];
        JsonArray history = status["history"]!.AsArray();
        Assert.Equal(epochs.Length, history.Count);
        for (int i = 0; i < epochs.Length; i++)
        {
            foreach (JsonProperty field in epochs[i].EnumerateObject())
                Assert.Equal(field.Value.GetRawText(), history[i]![field.Name]!.ToJsonString());
        }

        JsonElement last = epochs[^1];
        foreach (string name in new[] { "epoch", "loss", "accuracy", "test_loss", "test_accuracy", "images_per_second", "weights_sha256" })
            Assert.Equal(last.GetProperty(name).GetRawText(), status[name]!.ToJsonString());
        Assert.Equal(run.GetProperty("weights_sha256").GetString(), status["weights_sha256"]!.GetValue<string>());
        Assert.Equal(run.GetProperty("configuration").GetProperty("parameters").GetRawText(), status["parameters"]!.ToJsonString());
        Assert.Equal(status["total_steps"]!.ToJsonString(), status["steps_done"]!.ToJsonString());
    }
}
