using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>How runs begin and end: in any order, at any signal, and without leaving a process behind.</summary>
public sealed class LifetimeTests
{
    [Theory]
    [InlineData((int)PosixSignalNumber.Interrupt, 130)]
    [InlineData((int)PosixSignalNumber.Terminate, 143)]
    public async Task Coordinator_Interrupted_StopsItsWorkersAndSaysSo(int signal, int expectedCode)
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files);
        await run.LineAsync(static line => line.Contains("Epoch 1/", StringComparison.Ordinal) || line.Contains("accuracy", StringComparison.Ordinal));
        IReadOnlyList<int> workers = run.Children();
        Assert.Equal(3, workers.Count);
        run.Signal((PosixSignalNumber)signal);
        Assert.Equal(expectedCode, await run.ExitAsync());
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
        await ProgramRun.GoneAsync(workers);
    }

    [Fact]
    public async Task Coordinator_Killed_LeavesNoWorker()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        IReadOnlyList<int> workers = run.Children();
        run.Signal(PosixSignalNumber.Kill);
        await run.ExitAsync();
        Assert.Equal(3, workers.Count);
        await ProgramRun.GoneAsync(workers);
    }

    [Fact]
    public async Task Coordinator_AfterTheLastEpoch_LeavesNoWorker()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = ProgramRun.Coordinator(
            "train", "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--out", files.Out, "--workers", "3", "--threads", "1", "--batch-size", "16", "--epochs", "40");
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        IReadOnlyList<int> workers = run.Children();
        await run.SucceedAsync();
        await ProgramRun.GoneAsync(workers);
    }

    [Fact]
    public async Task Workers_StartedBeforeTheirCoordinator_WaitForIt()
    {
        using TinyDataset data = new();
        using TrainingRun local = new(), remote = new();
        string address = $"127.0.0.1:{ProgramRun.FreePort()}";
        string[] options = ["--dataset", data.Directory, "--model", local.WriteSmallModel(), "--batch-size", "16", "--epochs", "2"];
        await using ProgramRun first = ProgramRun.Worker("--coordinator", $"http://{address}", "--threads", "1", "--name", "early-1");
        await using ProgramRun second = ProgramRun.Worker("--coordinator", $"http://{address}", "--threads", "2", "--name", "early-2");
        await first.LineAsync(static line => line.Contains("wait", StringComparison.OrdinalIgnoreCase));
        await second.LineAsync(static line => line.Contains("wait", StringComparison.OrdinalIgnoreCase));

        await using ProgramRun coordinator = await remote.TrainAsync(null, ["--workers", "0", "--min-workers", "2", "--listen", address, .. options]);
        await first.SucceedAsync();
        await second.SucceedAsync();
        await using ProgramRun reference = await local.TrainAsync(null, ["--workers", "1", .. options]);
        Assert.Equal(local.WeightsSha256, remote.WeightsSha256);
        Assert.Equal(2, remote.Json.GetProperty("workers").GetInt32());
    }

    private static ProgramRun StartEndless(TinyDataset data, TrainingRun files) => ProgramRun.Coordinator(
        "train", "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--out", files.Out,
        "--workers", "3", "--threads", "1", "--batch-size", "16", "--epochs", "1000000");
}
