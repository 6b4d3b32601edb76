using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using Distributed.Tests.Cluster;
using Distributed.Tests.Data;

namespace Distributed.Tests.Status;

/// <summary>What real monitoring systems make of the metrics and traces.</summary>
[Collection(nameof(ShownRun))]
public sealed class MonitoringTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromMinutes(2);

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Metrics_CheckedByPromtool_AreClean()
    {
        string? promtool = Programs.Find("promtool");
        Assert.SkipWhen(promtool is null, "needs promtool (Debian's package prometheus)");
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        string metrics = await run.Client.GetStringAsync("/metrics", Cancellation);
        using Process check = Process.Start(new ProcessStartInfo(promtool, ["check", "metrics"]) { RedirectStandardInput = true, RedirectStandardError = true, RedirectStandardOutput = true })!;
        await check.StandardInput.WriteAsync(metrics);
        check.StandardInput.Close();
        string complaints = await check.StandardOutput.ReadToEndAsync(Cancellation) + await check.StandardError.ReadToEndAsync(Cancellation);
        await check.WaitForExitAsync(Cancellation);
        Assert.Equal((0, ""), (check.ExitCode, complaints));
    }

    [Fact]
    public async Task Prometheus_ThatScrapesTheEndpoint_ReadsEverything()
    {
        string? prometheus = Programs.Find("prometheus");
        Assert.SkipWhen(prometheus is null, "needs prometheus (Debian's package prometheus)");
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        using TrainingRun files = new();
        string configuration = files.WriteFile("prometheus.yml", $$"""
            global: { scrape_interval: 5s }
            scrape_configs:
              - job_name: training
                static_configs: [{ targets: ["{{run.Address.Authority}}"] }]
            """);
        string address = $"127.0.0.1:{FreePort()}";
        await using ProgramRun server = ProgramRun.Start(
            prometheus, $"--config.file={configuration}", $"--storage.tsdb.path={Path.Combine(files.Directory, "data")}", $"--web.listen-address={address}");
        using HttpClient client = new() { BaseAddress = new Uri($"http://{address}") };

        JsonNode target = await UntilAsync(
            client, "/api/v1/targets", static answer => answer["data"]!["activeTargets"]!.AsArray().FirstOrDefault(static target => target!["health"]!.GetValue<string>() == "up"));
        Assert.Equal("", target["lastError"]!.GetValue<string>());
        JsonNode steps = await UntilAsync(client, "/api/v1/query?query=training_steps_total", static answer => answer["data"]!["result"]!.AsArray().FirstOrDefault());
        Assert.Equal("4", steps["value"]![1]!.GetValue<string>());
    }

    [Fact]
    public async Task Train_WithACollectorInTheEnvironment_SendsMetricsAndFewSpans()
    {
        using Collector collector = new();
        using TinyDataset data = new();
        using TrainingRun files = new();
        Dictionary<string, string> environment = new() { ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.Address, ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf" };
        await using ProgramRun run = await files.TrainAsync(
            environment, "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--workers", "1", "--threads", "1", "--epochs", "20", "--status", "none");
        Assert.DoesNotContain("status at", run.Errors, StringComparison.Ordinal);
        Assert.Contains("training.step.duration", collector.Received("/v1/metrics"), StringComparison.Ordinal);
        Assert.Contains("process.thread.count", collector.Received("/v1/metrics"), StringComparison.Ordinal);
        string traces = collector.Received("/v1/traces");
        Assert.Equal(20, traces.Split("evaluate").Length - 1);
        // 120 steps, of which one a second is told.
        Assert.InRange(traces.Split("training.step").Length - 1, 1, 60);
    }

    private static async Task<JsonNode> UntilAsync(HttpClient client, string path, Func<JsonNode, JsonNode?> find)
    {
        using CancellationTokenSource guard = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        guard.CancelAfter(Guard);
        using PeriodicTimer timer = new(TimeSpan.FromMilliseconds(100));
        while (true)
        {
            try
            {
                if (find(JsonNode.Parse(await client.GetStringAsync(path, guard.Token))!) is { } found)
                    return found;
            }
            catch (HttpRequestException)
            {
                // It is still starting.
            }

            await timer.WaitForNextTickAsync(guard.Token);
        }
    }

    private static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Takes whatever is sent by OTLP over HTTP. The names in it are plain text within the protobuf.</summary>
    private sealed class Collector : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly ConcurrentQueue<(string Path, string Body)> _received = new();

        public Collector()
        {
            Address = $"http://127.0.0.1:{FreePort()}";
            _listener.Prefixes.Add($"{Address}/");
            _listener.Start();
            _ = TakeAsync();
        }

        public string Address { get; }

        public string Received(string path) => string.Concat(_received.Where(item => item.Path == path).Select(static item => item.Body));

        public void Dispose() => _listener.Close();

        private async Task TakeAsync()
        {
            try
            {
                while (true)
                {
                    HttpListenerContext context = await _listener.GetContextAsync();
                    using MemoryStream body = new();
                    await context.Request.InputStream.CopyToAsync(body);
                    _received.Enqueue((context.Request.Url!.AbsolutePath, Encoding.Latin1.GetString(body.ToArray())));
                    context.Response.ContentType = "application/x-protobuf";
                    context.Response.Close();
                }
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                // Closed: the test is over.
            }
        }
    }
}
