using System.Net;
using System.Net.Sockets;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>A user's mistake: exit code 2, one line that names it, nothing else.</summary>
public sealed class UsageTests
{
    /// <summary>What must be named, and the command line.</summary>
    public static TheoryData<string, string[]> Mistakes { get; } = new()
    {
        { "--no-such-option", ["train", "--no-such-option"] },
        { "--workers", ["train", "--workers", "-1"] },
        { "--workers", ["train", "--workers", "many"] },
        { "--batch-size", ["train", "--batch-size", "60"] },
        { "--epochs", ["train", "--epochs", "0"] },
        { "--threads", ["train", "--threads", "0"] },
        { "--max-steps", ["train", "--max-steps", "-5"] },
        { "--learning-rate", ["train", "--learning-rate", "-1"] },
        { "optimizer", ["train", "--optimizer", "adamw"] },
        { "--exchange must be auto, shm or grpc, not 'smoke'", ["train", "--exchange", "smoke"] },
        { "--exchange", ["train", "--exchange", "7"] },
        { "--chunk-kb", ["train", "--chunk-kb", "-1"] },
        { "--chunk-kb", ["train", "--chunk-kb", "2000000000"] },
        { "--wire", ["train", "--wire", "fp8"] },
        { "--listen", ["train", "--listen", "nowhere"] },
        { "convnett", ["train", "--model", "convnett"] },
        { "no-such-directory", ["train", "--dataset", "/no-such-directory"] },
        { "no-such-directory", ["train", "--data-dir", "/no-such-directory"] },
        { "no-such-file", ["evaluate", "--weights", "/no-such-file.safetensors"] },
        { "relue", ["summary", "--model", "{relue}"] },
        { "kernel", ["train", "--model", "{huge-kernel}", "--dataset", "{data}"] },
        { "units", ["train", "--model", "{wrong-classes}", "--dataset", "{data}"] },
        { "--checkpoint-dir", ["train", "--resume"] },
        { "--checkpoint-every", ["train", "--checkpoint-every", "-1"] },
        { "--checkpoint-dir", ["train", "--checkpoint-dir", "/proc/no/such", "--dataset", "{data}"] },
        { "--insecure", ["train", "--workers", "0", "--listen", "0.0.0.0:0", "--dataset", "{data}"] },
        { "--token-file", ["train", "--token-file", "/no-such-token"] },
        { "--tls-key", ["train", "--tls-cert", "{relue}", "--dataset", "{data}"] },
        { "--tls-cert", ["train", "--tls-cert", "{relue}", "--tls-key", "{relue}", "--dataset", "{data}"] },
        { "--tls-client-ca", ["train", "--tls-client-ca", "{relue}", "--dataset", "{data}"] },
        { "--out", ["train", "--out", "/proc/no/such", "--dataset", "{data}"] },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public async Task Coordinator_WrongUsage_ExitsWithTwoAndOneLine(string named, string[] arguments)
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        Dictionary<string, string> places = new()
        {
            ["{data}"] = data.Directory,
            ["{relue}"] = files.WriteFile("relue.json", """{"layers":[{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"relue"}]}"""),
            ["{huge-kernel}"] = files.WriteFile("huge.json", """{"layers":[{"layer":"Conv2D","filters":4,"kernel_size":13},{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"softmax"}]}"""),
            ["{wrong-classes}"] = files.WriteFile("nine.json", """{"layers":[{"layer":"Flatten"},{"layer":"Dense","units":9,"activation":"softmax"}]}"""),
        };
        await using ProgramRun run = ProgramRun.Coordinator(arguments.Select(argument => places.GetValueOrDefault(argument, argument)));
        await AssertRefusedAsync(run, named);
    }

    [Theory]
    [InlineData("--coordinator", new[] { "--coordinator", "not a url" })]
    [InlineData("--coordinator", new string[0])]
    [InlineData("--threads", new[] { "--coordinator", "http://127.0.0.1:1", "--threads", "0" })]
    [InlineData("--exchange", new[] { "--coordinator", "http://127.0.0.1:1", "--exchange", "smoke" })]
    [InlineData("--token-file", new[] { "--coordinator", "http://127.0.0.1:1", "--token-file", "/no-such-token" })]
    [InlineData("--tls-ca", new[] { "--coordinator", "https://127.0.0.1:1", "--tls-ca", "/no-such-file" })]
    [InlineData("--tls-key", new[] { "--coordinator", "https://127.0.0.1:1", "--tls-cert", "/no-such-file" })]
    [InlineData("--steps", new[] { "benchmark", "--steps", "0" })]
    public async Task Worker_WrongUsage_ExitsWithTwoAndOneLine(string named, string[] arguments)
    {
        await using ProgramRun run = ProgramRun.Worker(arguments);
        await AssertRefusedAsync(run, named);
    }

    [Fact]
    public async Task Coordinator_PortInUse_ExitsWithTwoAndOneLine()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        using TcpListener taken = new(IPAddress.Loopback, 0);
        taken.Start();
        string address = $"127.0.0.1:{((IPEndPoint)taken.LocalEndpoint).Port}";
        await using ProgramRun run = ProgramRun.Coordinator("train", "--listen", address, "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--out", files.Out);
        await AssertRefusedAsync(run, address);
    }

    private static async Task AssertRefusedAsync(ProgramRun run, string named)
    {
        int code = await run.ExitAsync();
        Assert.True(code == 2, $"exit code {code}\n{run.Output}\n{run.Errors}");
        string line = Assert.Single(run.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains(named, line, StringComparison.Ordinal);
        Assert.Empty(run.Output);
    }
}
