using System.Net;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>Tokens and certificates between real processes.</summary>
public sealed class SecurityTests : IDisposable
{
    private const string Secret = "a-token-that-nobody-may-see";

    private readonly TinyDataset _data = new();
    private readonly TrainingRun _files = new(), _reference = new();
    private readonly string[] _options;

    public SecurityTests() =>
        _options = ["--dataset", _data.Directory, "--model", _files.WriteSmallModel(), "--batch-size", "16", "--max-steps", "12"];

    [Fact]
    public async Task Worker_WithTheToken_Trains_AndOthersAreRefusedWithTheReason()
    {
        string token = _files.WriteFile("token", Secret + "\n");
        await using ProgramRun coordinator = Start("--workers", "0", "--listen", "127.0.0.1:0", "--token-file", token);
        string url = await coordinator.AddressAsync();

        await using ProgramRun without = ProgramRun.Worker("--coordinator", url, "--threads", "1");
        await AssertRefusedAsync(without, "no join token");
        await using ProgramRun wrong = ProgramRun.Worker(
            new Dictionary<string, string> { ["DISTRIBUTED_TOKEN"] = "another" }, "--coordinator", url, "--threads", "1", "--name", "impostor");
        await AssertRefusedAsync(wrong, "its join token is wrong");
        Assert.Contains("impostor", await coordinator.LineAsync(static line => line.Contains("its join token is wrong", StringComparison.Ordinal)), StringComparison.Ordinal);

        await using ProgramRun right = ProgramRun.Worker("--coordinator", url, "--threads", "1", "--token-file", token);
        await coordinator.SucceedAsync();
        await right.SucceedAsync();
        await AssertSameWeightsAsync();
        foreach (ProgramRun run in new[] { coordinator, without, wrong, right })
            Assert.DoesNotContain(Secret, run.Output + run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(Secret, File.ReadAllText(Path.Combine(_files.Out, "run.json")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Token_OfALocalRun_IsInNoProcessList()
    {
        await using ProgramRun run = ProgramRun.Coordinator(
            new Dictionary<string, string> { ["DISTRIBUTED_TOKEN"] = Secret },
            ["train", "--out", _files.Out, "--workers", "2", "--threads", "1", "--epochs", "1000000", .. _options[..^2]]);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        foreach (int process in run.Children().Append(run.Id))
        {
            Assert.DoesNotContain(Secret, File.ReadAllText($"/proc/{process}/cmdline"), StringComparison.Ordinal);
            Assert.DoesNotContain("oken", File.ReadAllText($"/proc/{process}/cmdline"), StringComparison.Ordinal);
        }

        run.Signal(PosixSignalNumber.Terminate);
        Assert.Equal(143, await run.ExitAsync());
    }

    [Fact]
    public async Task Tls_WithTheAuthority_Trains_AndWithAnotherDoesNot()
    {
        using Certificates authority = new(_files.Directory, "ours"), other = new(_files.Directory, "theirs");
        await using ProgramRun coordinator = Start(["--workers", "0", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", .. authority.Server()]);
        string url = Encrypted(await coordinator.AddressAsync());
        string page = (await coordinator.LineAsync(static line => line.StartsWith("status at ", StringComparison.Ordinal))).Split(' ')[^1];
        using HttpClient reader = authority.CreateReader();
        Assert.StartsWith("https://", page, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.OK, (await reader.GetAsync(new Uri(page), TestContext.Current.CancellationToken)).StatusCode);
        await using ProgramRun trusting = ProgramRun.Coordinator("status", "--status", page, "--tls-ca", authority.Authority);
        await trusting.SucceedAsync();
        await using ProgramRun doubting = ProgramRun.Coordinator("status", "--status", page, "--tls-ca", other.Authority);
        Assert.Equal(1, await doubting.ExitAsync());

        await using ProgramRun deceived = ProgramRun.Worker("--coordinator", url, "--threads", "1", "--tls-ca", other.Authority);
        await AssertRefusedAsync(deceived, "no safe connection");
        await using ProgramRun right = ProgramRun.Worker("--coordinator", url, "--threads", "1", "--tls-ca", authority.Authority);
        await coordinator.SucceedAsync();
        await right.SucceedAsync();
        await AssertSameWeightsAsync();
    }

    [Fact]
    public async Task Tls_WithClientCertificates_LetsOnlyTheirOwnersIn()
    {
        using Certificates authority = new(_files.Directory, "ours"), other = new(_files.Directory, "theirs");
        await using ProgramRun coordinator = Start(["--workers", "0", "--listen", "127.0.0.1:0", "--tls-client-ca", authority.Authority, .. authority.Server()]);
        string[] call = ["--coordinator", Encrypted(await coordinator.AddressAsync()), "--threads", "1", "--tls-ca", authority.Authority];

        await using ProgramRun without = ProgramRun.Worker(call);
        await AssertRefusedAsync(without, "no client certificate");
        await using ProgramRun wrong = ProgramRun.Worker([.. call, .. other.Client()]);
        await AssertRefusedAsync(wrong, "its client certificate is not good");
        await using ProgramRun misused = ProgramRun.Worker([.. call, .. authority.Server()]);
        await AssertRefusedAsync(misused, "its client certificate is not good");
        await using ProgramRun right = ProgramRun.Worker([.. call, .. authority.Client()]);
        await coordinator.SucceedAsync();
        await right.SucceedAsync();
        Assert.Contains("no client certificate", coordinator.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Tls_InSingleMachineMode_IsForOthers()
    {
        using Certificates authority = new(_files.Directory, "ours");
        await using ProgramRun run = Start(
            ["--workers", "2", "--threads", "1", "--listen", "127.0.0.1:0", "--status", "127.0.0.1:0", "--tls-client-ca", authority.Authority, .. authority.Server()]);
        // The page is encrypted as well, and asks nobody for a certificate.
        await run.LineAsync(static line => line.StartsWith("status at https://127.0.0.1:", StringComparison.Ordinal));
        await run.SucceedAsync();
        await AssertSameWeightsAsync();
    }

    public void Dispose()
    {
        _data.Dispose();
        _files.Dispose();
        _reference.Dispose();
    }

    private static string Encrypted(string url) => url.Replace("http://", "https://", StringComparison.Ordinal);

    private static async Task AssertRefusedAsync(ProgramRun worker, string reason)
    {
        int code = await worker.ExitAsync();
        Assert.True(code == 1, $"exit code {code}\n{worker.Errors}");
        string line = worker.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1];
        Assert.StartsWith("worker: ", line, StringComparison.Ordinal);
        Assert.Contains(reason, line, StringComparison.Ordinal);
    }

    private ProgramRun Start(params string[] more) => ProgramRun.Coordinator(["train", "--out", _files.Out, .. _options, .. more]);

    private async Task AssertSameWeightsAsync()
    {
        await using ProgramRun run = await _reference.TrainAsync(null, ["--workers", "1", .. _options]);
        Assert.Equal(_reference.WeightsSha256, _files.WeightsSha256);
    }
}
