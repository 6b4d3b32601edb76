using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>Losing a worker costs time and nothing else.</summary>
public sealed class RecoveryTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public async Task Run_WithAWorkerKilled_EndsWithTheSameWeights(int maxRestarts)
    {
        // Enough steps that the kill, which follows the first epoch's line, falls into the midst of the run.
        using TinyDataset data = new(train: 3000);
        using TrainingRun undisturbed = new(), disturbed = new();
        string[] options = ["--dataset", data.Directory, "--model", undisturbed.WriteSmallModel(), "--batch-size", "16", "--epochs", "40", "--threads", "1"];
        await using ProgramRun reference = await undisturbed.TrainAsync(null, ["--workers", "1", .. options]);

        await using ProgramRun run = ProgramRun.Coordinator(["train", "--out", disturbed.Out, "--workers", "3", "--max-restarts", $"{maxRestarts}", .. options]);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        ProgramRun.Kill(run.Children()[1]);
        await run.SucceedAsync();
        Assert.Contains("Lost worker", run.Errors, StringComparison.Ordinal);
        Assert.Contains(maxRestarts > 0 ? "restarts)" : "not started again", run.Errors, StringComparison.Ordinal);
        Assert.Equal(undisturbed.WeightsSha256, disturbed.WeightsSha256);
        Assert.True(disturbed.Json.GetProperty("leases_moved").GetInt32() > 0);
    }

    [Fact]
    public async Task Run_WithAllWorkersKilledAtOnceAndAgain_ReplacesThemThenFailsNamingTheLast()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files, "--workers", "3", "--max-restarts", "3");
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        IReadOnlyList<int> first = run.Children();
        foreach (int worker in first)
            ProgramRun.Kill(worker);
        await run.LineAsync(static line => line.Contains("(3 of at most 3 restarts)", StringComparison.Ordinal));
        await run.LineAsync(static line => line.Contains("Going on", StringComparison.Ordinal));
        foreach (int worker in run.Children().Except(first))
            ProgramRun.Kill(worker);
        Assert.Equal(1, await run.ExitAsync());
        Assert.Contains("no worker is left; the last, worker-", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
        await ProgramRun.GoneAsync(first);
    }

    [Fact]
    public async Task Worker_ToldToStop_SaysGoodbyeAndExitsWith143()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files, "--workers", "0", "--min-workers", "2", "--listen", "127.0.0.1:0");
        string address = await run.AddressAsync();
        await using ProgramRun stays = ProgramRun.Worker("--coordinator", address, "--threads", "1", "--name", "stays");
        await using ProgramRun goes = ProgramRun.Worker("--coordinator", address, "--threads", "1", "--name", "goes");
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        goes.Signal(PosixSignalNumber.Terminate);
        Assert.Equal(143, await goes.ExitAsync());
        string lost = await run.LineAsync(static line => line.Contains("Lost worker goes", StringComparison.Ordinal));
        Assert.Contains("told to stop", lost, StringComparison.Ordinal);
        await run.LineAsync(static line => line.Contains("Paused with 1 of at least 2", StringComparison.Ordinal));

        await using ProgramRun comes = ProgramRun.Worker("--coordinator", address, "--threads", "1", "--name", "comes");
        await run.LineAsync(static line => line.Contains("Going on with 2 workers", StringComparison.Ordinal));
        run.Signal(PosixSignalNumber.Kill);
        await run.ExitAsync();
    }

    [Fact]
    public async Task Run_WithoutEnoughWorkersForTooLong_FailsClearly()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files, "--workers", "0", "--listen", "127.0.0.1:0", "--worker-timeout", "0.5");
        Assert.Equal(1, await run.ExitAsync());
        Assert.Contains("0 of at least 1 workers were there for 0.5 s (--worker-timeout)", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_StoppedAndContinued_IsGivenUpAndJoinsAgain()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = StartEndless(data, files, "--workers", "0", "--min-workers", "2", "--listen", "127.0.0.1:0");
        string address = await run.AddressAsync();
        await using ProgramRun stays = ProgramRun.Worker("--coordinator", address, "--threads", "1", "--name", "stays");
        await using ProgramRun sleeps = ProgramRun.Worker("--coordinator", address, "--threads", "1", "--name", "sleeps");
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        sleeps.Signal(PosixSignalNumber.Stop);
        string lost = await run.LineAsync(static line => line.Contains("Lost worker sleeps", StringComparison.Ordinal));
        Assert.Contains("nothing was heard from it", lost, StringComparison.Ordinal);
        sleeps.Signal(PosixSignalNumber.Continue);
        // Once at the start and once again.
        await run.LinesAsync("Worker sleeps joined", 2);
        run.Signal(PosixSignalNumber.Kill);
        await run.ExitAsync();
    }

    private static ProgramRun StartEndless(TinyDataset data, TrainingRun files, params string[] options) => ProgramRun.Coordinator(
        ["train", "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--out", files.Out,
        "--threads", "1", "--batch-size", "16", "--epochs", "1000000", .. options]);
}
