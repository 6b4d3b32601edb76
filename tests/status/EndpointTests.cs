using System.Net;
using System.Text.Json.Nodes;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Status;

namespace Distributed.Tests.Status;

/// <summary>What the status port answers, over a made-up run.</summary>
[Collection(nameof(ShownRun))]
public sealed class EndpointTests
{
    // The contract: a name more is an addition, a name less breaks somebody's script.
    private static readonly string[] Names =
    [
        "run", "started", "state", "failure", "model", "dataset", "parameters", "wire", "epoch", "epochs", "step", "steps_per_epoch", "steps_done", "total_steps", "loss", "accuracy", "test_loss",
        "test_accuracy", "images_per_second", "elapsed_seconds", "eta_seconds", "membership_version", "weights_sha256", "workers", "history", "checkpoint", "events",
    ];

    private static readonly string[] WorkerNames =
    [
        "id", "name", "address", "state", "threads", "instruction_set", "exchange", "shards", "steps", "images_per_second", "step_ms", "compute_ms", "exchange_ms", "wait_ms", "bytes_sent",
        "bytes_received", "last_heartbeat_ms",
    ];

    private static readonly string[] HistoryNames =
        ["epoch", "steps", "samples", "seconds", "images_per_second", "loss", "accuracy", "test_loss", "test_accuracy", "weights_sha256"];

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Status_OfARun_HasTheNamesAndValuesOfTheContract()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        JsonNode status = JsonNode.Parse(await run.Client.GetStringAsync("/status", Cancellation))!;
        Assert.Equal(Names, status.AsObject().Select(static field => field.Key));
        Assert.Equal(WorkerNames, status["workers"]![0]!.AsObject().Select(static field => field.Key));
        Assert.Equal(HistoryNames, status["history"]![0]!.AsObject().Select(static field => field.Key));
        Assert.Equal(["number", "time", "kind", "worker", "text"], status["events"]![0]!.AsObject().Select(static field => field.Key));

        Assert.Equal("evaluating", status.State());
        Assert.Equal((1, 4, 4, 8), (status["epoch"]!.GetValue<int>(), status["step"]!.GetValue<int>(), status["steps_done"]!.GetValue<int>(), status["total_steps"]!.GetValue<int>()));
        Assert.Equal(0.75, status["accuracy"]!.GetValue<double>());
        Assert.Equal("joined", status["events"]![0]!["kind"]!.GetValue<string>());
        JsonNode worker = status["workers"]![1]!;
        Assert.Equal("[4,5,6,7]", worker["shards"]!.ToJsonString());
        Assert.Equal(("active", 4), (worker["state"]!.GetValue<string>(), worker["steps"]!.GetValue<int>()));
        Assert.Equal(
            worker["step_ms"]!.GetValue<double>(),
            worker["compute_ms"]!.GetValue<double>() + worker["exchange_ms"]!.GetValue<double>() + worker["wait_ms"]!.GetValue<double>(),
            tolerance: 1e-6);
    }

    [Fact]
    public async Task Documents_OfARun_AreAsTheOpenApiDocumentSays()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        StatusSchema schema = await StatusSchema.FetchAsync(run.Client);
        schema.Check("StatusDocument", JsonNode.Parse(await run.Client.GetStringAsync("/status", Cancellation)));
        run.Train();
        run.Monitor.Checkpoints = static () => new CheckpointStatus("checkpoints/4", 1, 4, DateTimeOffset.UtcNow, 0.003, 1000, null);
        schema.Check("StatusDocument", JsonNode.Parse(await run.Client.GetStringAsync("/status", Cancellation)));
        schema.Check("CurveDocument", JsonNode.Parse(await run.Client.GetStringAsync("/curve", Cancellation)));
        schema.Check("ResultDocument", JsonNode.Parse(await run.Client.GetStringAsync("/result", Cancellation)));
        schema.Check("HealthDocument", JsonNode.Parse(await run.Client.GetStringAsync("/healthz", Cancellation)));
        Assert.ThrowsAny<Xunit.Sdk.XunitException>(() => schema.Check("StatusDocument", new JsonObject { ["state"] = "asleep" }));
    }

    [Fact]
    public async Task Result_OfAnEpoch_CountsAndShowsWhatWasWrong()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        JsonNode result = JsonNode.Parse(await run.Client.GetStringAsync("/result", Cancellation))!;
        Assert.Equal(5, result["wrong"]!.GetValue<int>());
        Assert.Equal([0, 9, 18, 27, 36], result["mistakes"]!.AsArray().Select(static mistake => mistake!["index"]!.GetValue<int>()));
        Assert.Equal(45, result["confusion_matrix"]!.AsArray().Sum(static row => row!.AsArray().Sum(static count => count!.GetValue<int>())));
        Assert.Equal(64, Convert.FromBase64String(result["mistakes"]![0]!["pixels"]!.GetValue<string>()).Length);
    }

    [Fact]
    public async Task Health_AndReadiness_FollowTheRun()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        Assert.Equal(HttpStatusCode.OK, (await run.Client.GetAsync("/healthz", Cancellation)).StatusCode);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await run.Client.GetAsync("/readyz", Cancellation)).StatusCode);
        run.Train();
        Assert.Equal(HttpStatusCode.OK, (await run.Client.GetAsync("/readyz", Cancellation)).StatusCode);
        run.Monitor.End(RunState.Failed, "it diverged");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, (await run.Client.GetAsync("/readyz", Cancellation)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await run.Client.GetAsync("/healthz", Cancellation)).StatusCode);
    }

    [Theory]
    [InlineData("GET", "/nowhere", HttpStatusCode.NotFound)]
    [InlineData("GET", "/result", HttpStatusCode.NotFound)]
    [InlineData("GET", "/readyz", HttpStatusCode.ServiceUnavailable)]
    [InlineData("POST", "/status", HttpStatusCode.MethodNotAllowed)]
    [InlineData("DELETE", "/", HttpStatusCode.MethodNotAllowed)]
    public async Task Request_ThatCannotBeAnswered_GetsProblemDetails(string method, string path, HttpStatusCode code)
    {
        await using ShownRun run = await ShownRun.StartAsync();
        using HttpRequestMessage request = new(new HttpMethod(method), path);
        using HttpResponseMessage response = await run.Client.SendAsync(request, Cancellation);
        await CheckProblemAsync(response, code);
    }

    [Theory]
    [InlineData("Host", "evil.example", HttpStatusCode.MisdirectedRequest)]
    [InlineData("Host", "localhost.evil.example:8080", HttpStatusCode.MisdirectedRequest)]
    [InlineData("Host", "localhost:1234", HttpStatusCode.OK)]
    [InlineData("Host", "trainer.example", HttpStatusCode.OK)]
    [InlineData("Host", "192.0.2.7:8080", HttpStatusCode.OK)]
    [InlineData("Host", "[::1]:8080", HttpStatusCode.OK)]
    [InlineData("Sec-Fetch-Site", "cross-site", HttpStatusCode.Forbidden)]
    [InlineData("Sec-Fetch-Site", "same-site", HttpStatusCode.Forbidden)]
    [InlineData("Sec-Fetch-Site", "same-origin", HttpStatusCode.OK)]
    [InlineData("Origin", "http://evil.example", HttpStatusCode.Forbidden)]
    [InlineData("Origin", "null", HttpStatusCode.Forbidden)]
    public async Task Request_WithAHeader_IsAnsweredOnlyIfItIsOurs(string header, string value, HttpStatusCode code)
    {
        await using ShownRun run = await ShownRun.StartAsync(new StatusOptions { Hosts = ["trainer.example"] });
        using HttpRequestMessage request = new(HttpMethod.Get, "/status");
        request.Headers.TryAddWithoutValidation(header, value);
        using HttpResponseMessage response = await run.Client.SendAsync(request, Cancellation);
        if (code == HttpStatusCode.OK)
            Assert.Equal(code, response.StatusCode);
        else
            await CheckProblemAsync(response, code);
    }

    [Fact]
    public async Task Response_OfAnyKind_TellsBrowsersWhatTheyMayDo()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        foreach (string path in new[] { "/", "/status", "/echarts.js", "/nowhere" })
        {
            using HttpResponseMessage response = await run.Client.GetAsync(path, Cancellation);
            Assert.Equal("nosniff", Assert.Single(response.Headers.GetValues("X-Content-Type-Options")));
            string policy = Assert.Single(response.Headers.GetValues("Content-Security-Policy"));
            Assert.StartsWith("default-src 'none'; script-src 'self';", policy, StringComparison.Ordinal);
            Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Metrics_OfARun_AreThereUnderTheirNames()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        string metrics = await run.Client.GetStringAsync("/metrics", Cancellation);
        foreach (string line in new[]
        {
            "training_steps_total", "training_images_total", "training_loss", "training_accuracy", "training_test_accuracy", "training_step_duration_seconds_bucket",
            "training_phase_duration_seconds_total", "training_worker_throughput_", "training_worker_io_bytes_total", "training_worker_evictions_total", "training_partials_refused_total",
            "dotnet_gc_collections_total", "process_memory_usage_bytes",
        })
            Assert.Contains($"\n{line}", metrics, StringComparison.Ordinal);
        Assert.DoesNotContain("training_checkpoint_age", metrics, StringComparison.Ordinal);
        run.Monitor.Checkpoints = static () => new CheckpointStatus("checkpoints/4", 1, 4, DateTimeOffset.UtcNow, 0.003, 1000, null);
        using ShownMetrics after = new(run.Client);
        await after.UntilAsync("training_checkpoint_duration_seconds");
    }

    private static async Task CheckProblemAsync(HttpResponseMessage response, HttpStatusCode code)
    {
        Assert.Equal(code, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType!.MediaType);
        JsonNode problem = JsonNode.Parse(await response.Content.ReadAsStringAsync(Cancellation))!;
        Assert.Equal((int)code, problem["status"]!.GetValue<int>());
        Assert.NotEmpty(problem["title"]!.GetValue<string>());
    }

    /// <summary>Scrapes until a name turns up: the exporter answers from a cache for a moment.</summary>
    private sealed class ShownMetrics(HttpClient client) : IDisposable
    {
        private readonly PeriodicTimer _timer = new(TimeSpan.FromMilliseconds(50));

        public async Task UntilAsync(string name)
        {
            using CancellationTokenSource guard = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
            guard.CancelAfter(TimeSpan.FromMinutes(1));
            while (!(await client.GetStringAsync("/metrics", guard.Token)).Contains(name, StringComparison.Ordinal))
                await _timer.WaitForNextTickAsync(guard.Token);
        }

        public void Dispose() => _timer.Dispose();
    }
}
