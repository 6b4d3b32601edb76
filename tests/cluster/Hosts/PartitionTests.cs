using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>A coordinator and two workers on hosts of their own, and a bad network between them.</summary>
public sealed class PartitionTests
{
    private static readonly TimeSpan s_delay = TimeSpan.FromMilliseconds(50), s_partition = TimeSpan.FromSeconds(10);

    private const double Loss = 0.01;

    // At two round trips a step, long enough for the partition and what follows.
    private const string Steps = "220";

    [Fact]
    public async Task Run_OverABadNetworkWithAPartition_EndsWithTheSameWeights()
    {
        using TinyDataset data = new();
        using TrainingRun undisturbed = new(), files = new();
        string[] options = ["--dataset", data.Directory, "--model", undisturbed.WriteSmallModel(), "--batch-size", "16", "--epochs", "1000", "--max-steps", Steps];
        using NetworkHost coordinator = CreateHost("c", "10.77.0.1"), near = CreateHost("a", "10.77.0.2"), far = CreateHost("b", "10.77.0.3");
        using Switch network = new([coordinator, near, far], s_delay, Loss);
        await using ProgramRun reference = await undisturbed.TrainAsync(null, ["--workers", "1", .. options]);

        string token = files.WriteFile("token", "a token for this test alone");
        await using ProgramRun run = coordinator.Start(ProgramRun.CoordinatorPath, [
            "train", "--workers", "0", "--min-workers", "1", "--listen", $"{coordinator.Address}:5000", "--token-file", token,
            "--out", files.Out, "--ledger", files.Ledger, .. options]);
        // These hosts have one memory; only what goes over gRPC goes over their network.
        string[] join = ["--exchange", "grpc", "--coordinator", $"http://{coordinator.Address}:5000", "--token-file", token, "--threads", "1"];
        await using ProgramRun stays = near.Start(ProgramRun.WorkerPath, [.. join, "--name", "stays"]);
        await using ProgramRun cut = far.Start(ProgramRun.WorkerPath, [.. join, "--name", "cut"]);
        await WorkedAsync(files.Ledger, "cut");

        Task partition = Task.Delay(s_partition, TestContext.Current.CancellationToken);
        network.CutOff(far);
        string lost = await run.LineAsync(static line => line.Contains("Lost worker cut", StringComparison.Ordinal));
        await partition;
        network.CutOff(null);
        // Once at the start and once after the partition.
        await run.LinesAsync("Worker cut joined", 2);
        await run.SucceedAsync();
        await stays.SucceedAsync();
        await cut.SucceedAsync();

        Assert.Contains("nothing was heard from it", lost, StringComparison.Ordinal);
        Assert.Equal(undisturbed.WeightsSha256, files.WeightsSha256);
        TestContext.Current.TestOutputHelper!.WriteLine($"{network.Lost} packets lost; {run.Errors}");
    }

    private static NetworkHost CreateHost(string letter, string address) =>
        NetworkSpace.CreateOrSkip(() => NetworkHost.Create($"dt-{Environment.ProcessId}-{letter}", address));

    /// <summary>Waits until a worker has had a part in a step.</summary>
    private static async Task WorkedAsync(string ledger, string worker)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(ProgramRun.Deadline);
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(50));
        while (!Ledger.Read(ledger).Any(line => line.Partials.Any(partial => partial.Worker == worker)))
            await looks.WaitForNextTickAsync(deadline.Token);
    }
}
