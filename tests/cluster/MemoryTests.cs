using System.Globalization;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>Long runs in which workers come and go need no more memory than short ones.</summary>
public sealed class MemoryTests
{
    private const int Steps = 100_000;
    private const int RejoinEvery = 500;

    // Until then the coordinator's memory rises, from 138 MB after 10,000 steps to 172; to 150,000 it rose no more.
    private const int StepsToWarmUp = 50_000;

    // Memory that is resident, not memory in use: the collector lets a heap rise and fall by half of this.
    private const long MostKilobytes = 32_768;

    [Fact]
    public async Task Run_OfManyStepsWithAWorkerRejoining_DoesNotGrow()
    {
        LongTests.Require();
        using TinyDataset data = new(train: 40_000, test: 20, height: 8, width: 8);
        using TrainingRun files = new();
        string model = files.WriteFile("tiny.json", """{"layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 10, "activation": "softmax"}]}""");
        await using RemoteCluster cluster = new([
            "--dataset", data.Directory, "--model", model, "--batch-size", "16", "--epochs", "1000000", "--out", files.Out,
            "--min-workers", "2", "--heartbeat-interval", "0.05", "--heartbeat-timeout", "0.2", "--ledger", files.Ledger]);
        // With two workers needed the run waits for the one that is away.
        await cluster.StartCoordinatorAsync();
        ProgramRun stays = cluster.StartWorker(), rejoins = cluster.StartWorker();
        ProgramRun[] watched = [cluster.Coordinator, stays, rejoins];
        long[] before = [];
        int rejoined = 0;
        for (int step = RejoinEvery; step <= Steps; step += RejoinEvery)
        {
            await StepsAsync(files.Ledger, step, cluster.Coordinator);
            if (step == StepsToWarmUp)
                before = [.. watched.Select(ResidentKilobytes)];
            rejoins.Signal(PosixSignalNumber.Stop);
            await cluster.Coordinator.LinesAsync("Lost worker w2", ++rejoined);
            rejoins.Signal(PosixSignalNumber.Continue);
            await cluster.Coordinator.LinesAsync("Worker w2 joined", 1 + rejoined);
        }

        long[] after = [.. watched.Select(ResidentKilobytes)];
        cluster.Coordinator.Signal(PosixSignalNumber.Kill);
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{rejoined} rejoins; coordinator, the worker that stayed, the one that rejoined: {string.Join(", ", before)} KB after {StepsToWarmUp} steps, {string.Join(", ", after)} KB at the end");
        Assert.All(before.Zip(after), static pair => Assert.InRange(pair.Second - pair.First, long.MinValue, MostKilobytes));
    }

    private static long ResidentKilobytes(ProgramRun run) => long.Parse(
        File.ReadLines($"/proc/{run.Id}/status").Single(static line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);

    private static async Task StepsAsync(string ledger, int steps, ProgramRun run)
    {
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(50));
        while (CountLines(ledger) < steps)
        {
            Assert.True(run.IsRunning, run.Errors);
            await looks.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }
    }

    private static int CountLines(string path) => File.Exists(path) ? File.ReadLines(path).Count() : 0;
}
