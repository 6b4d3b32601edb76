using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>Losing a worker costs time and nothing else.</summary>
public sealed class RecoveryTests
{
    [Fact]
    public async Task Run_WithAWorkerKilled_EndsWithTheSameWeights()
    {
        // Enough steps that the kill, which follows the first epoch's line, falls into the midst of the run.
        using TinyDataset data = new(train: 3000);
        using TrainingRun undisturbed = new(), disturbed = new();
        string[] options = ["--dataset", data.Directory, "--model", undisturbed.WriteSmallModel(), "--batch-size", "16", "--epochs", "12", "--threads", "1"];
        await using ProgramRun reference = await undisturbed.TrainAsync(null, ["--workers", "1", .. options]);

        await using ProgramRun run = ProgramRun.Coordinator(["train", "--out", disturbed.Out, "--workers", "3", .. options]);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        ProgramRun.Kill(run.Children()[1]);
        await run.SucceedAsync();
        Assert.Contains("Lost worker", run.Errors, StringComparison.Ordinal);
        Assert.Equal(undisturbed.WeightsSha256, disturbed.WeightsSha256);
        Assert.True(disturbed.Json.GetProperty("leases_moved").GetInt32() > 0);
    }

    [Fact]
    public async Task Run_WithAllWorkersKilled_FailsNamingTheLast()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = ProgramRun.Coordinator(
            "train", "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--out", files.Out, "--workers", "2", "--threads", "1", "--batch-size", "16", "--epochs", "1000000");
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        foreach (int worker in run.Children())
            ProgramRun.Kill(worker);
        Assert.Equal(1, await run.ExitAsync());
        Assert.Contains("no worker is left", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
    }
}
