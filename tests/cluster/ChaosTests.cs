using System.Diagnostics;
using System.Text.Json;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>
/// Workers are killed, stopped, told to go and started late, and the coordinator is killed and resumed, at random steps:
/// the run ends with the weights of the undisturbed one.
/// </summary>
public sealed class ChaosTests(ChaosTests.Reference reference) : IClassFixture<ChaosTests.Reference>
{
    private const int Samples = 2393;
    private const int BatchSize = 24;
    private const int Shards = 6;
    private const int Epochs = 6;
    private const int Steps = Epochs * ((Samples + BatchSize - 1) / BatchSize);
    private const int Disturbances = 24;
    private const int MostWorkers = 5;
    private const double HeartbeatTimeout = 1.2;

    // However slow the machine, no step takes longer than to notice a loss, to find the work a new worker, and to do it.
    private static readonly TimeSpan s_recomputation = TimeSpan.FromSeconds(LongTests.AreWanted ? 10 : 60);

    public static TheoryData<int> SomeSeeds => [1, 2, 3];

    public static TheoryData<int> ManySeeds => [.. Enumerable.Range(4, 17)];

    [Theory]
    [MemberData(nameof(SomeSeeds))]
    public Task Run_UnderChaos_EndsWithTheSameWeights(int seed) => RunAsync(seed);

    [Theory]
    [MemberData(nameof(ManySeeds))]
    public Task Run_UnderChaosOfManySeeds_EndsWithTheSameWeights(int seed)
    {
        LongTests.Require();
        return RunAsync(seed);
    }

    private async Task RunAsync(int seed)
    {
        ITestOutputHelper output = TestContext.Current.TestOutputHelper!;
        output.WriteLine($"seed {seed}");
        Random random = new(seed);
        int[] moments = [.. Enumerable.Range(0, Disturbances).Select(_ => random.Next(1, Steps)).Order()];
        using TrainingRun files = new();
        await using RemoteCluster cluster = new([
            .. reference.Options, "--out", files.Out, "--checkpoint-dir", files.Checkpoints, "--checkpoint-every", "20", "--resume",
            "--ledger", files.Ledger, "--heartbeat-interval", "0.2", "--heartbeat-timeout", $"{HeartbeatTimeout}",
            // Every other run cuts what goes over gRPC.
            "--chunk-kb", $"{seed % 2}"]);
        List<ProgramRun> stopped = [];
        int coordinators = 1;
        await cluster.StartCoordinatorAsync();
        for (int i = 0; i < 3; i++)
            StartWorker();
        foreach (int moment in moments)
        {
            if (!await ReachAsync(files.Ledger, moment, cluster.Coordinator))
                break;
            output.WriteLine($"step {moment}: {await DisturbAsync()}");
            if (cluster.Workers.Count == stopped.Count)
                StartWorker();
        }

        await cluster.Coordinator.SucceedAsync();
        await cluster.DismissWorkersAsync();
        await ProgramRun.GoneAsync(cluster.Processes);

        Assert.Equal(reference.WeightsSha256, files.WeightsSha256);
        JsonElement[] epochs = [.. files.Json.GetProperty("epochs").EnumerateArray()];
        Assert.Equal(Enumerable.Repeat(Samples, Epochs), epochs.Select(static epoch => epoch.GetProperty("samples").GetInt32()));
        IReadOnlyList<LedgerLine> ledger = Ledger.Read(files.Ledger);
        Ledger.AssertEverySampleOnce(ledger, Samples, BatchSize, Shards, Epochs);
        double longest = ledger.Max(static line => line.Milliseconds);
        output.WriteLine($"{coordinators} coordinators, {ledger.Count} steps made for {Steps}, the longest took {longest:0} ms");
        Assert.InRange(longest, 0, TimeSpan.FromSeconds(HeartbeatTimeout).TotalMilliseconds + s_recomputation.TotalMilliseconds);

        void StartWorker() => cluster.StartWorker(random.Next(2) == 0 ? "grpc" : "auto");

        async Task<string> DisturbAsync()
        {
            ProgramRun[] awake = [.. cluster.Workers.Except(stopped)];
            ProgramRun victim = awake[random.Next(awake.Length)];
            switch (random.Next(12))
            {
                case 0 or 1:
                    coordinators++;
                    cluster.Coordinator.TrySignal(PosixSignalNumber.Kill);
                    if (await cluster.Coordinator.ExitAsync() != 0)
                        await cluster.StartCoordinatorAsync();
                    return "coordinator killed and resumed";
                case 2 or 3 or 4:
                    victim.TrySignal(PosixSignalNumber.Kill);
                    cluster.Workers.Remove(victim);
                    return "a worker killed";
                case 5 or 6:
                    victim.TrySignal(PosixSignalNumber.Stop);
                    stopped.Add(victim);
                    return "a worker stopped";
                case 7 when stopped.Count > 0:
                    stopped[0].TrySignal(PosixSignalNumber.Continue);
                    stopped.RemoveAt(0);
                    return "a worker continued";
                case 8:
                    victim.TrySignal(PosixSignalNumber.Terminate);
                    cluster.Workers.Remove(victim);
                    return "a worker told to go";
                default:
                    if (cluster.Workers.Count < MostWorkers)
                        StartWorker();
                    return "a worker started";
            }
        }
    }

    /// <summary>Waits until the run has made so many steps, or stands still for as long as it may; false when it has ended.</summary>
    private static async Task<bool> ReachAsync(string ledger, int step, ProgramRun coordinator)
    {
        long start = Stopwatch.GetTimestamp();
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(20));
        // What is stopped goes on only if something happens: the steps are not to be waited for forever.
        while (StepsMade(ledger) < step && Stopwatch.GetElapsedTime(start) < TimeSpan.FromSeconds(HeartbeatTimeout * 3))
        {
            if (!coordinator.IsRunning)
                return false;
            await looks.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }

        return coordinator.IsRunning;
    }

    private static int StepsMade(string ledger) =>
        Ledger.Read(ledger) is [.., LedgerLine last] ? ((last.Epoch - 1) * Steps / Epochs) + last.Step : 0;

    /// <summary>The same run without any disturbance, made once.</summary>
    public sealed class Reference : IAsyncLifetime, IDisposable
    {
        // Steps of some milliseconds, so that what is to happen in the midst of a run happens there.
        private const string Model = """
            {"layers": [
              {"layer": "Conv2D", "filters": 24, "kernel_size": 3, "activation": "relu"},
              {"layer": "MaxPooling2D", "pool_size": 2},
              {"layer": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu"},
              {"layer": "Dropout", "rate": 0.2},
              {"layer": "Flatten"},
              {"layer": "Dense", "units": 10, "activation": "softmax"}]}
            """;

        private readonly TinyDataset _data = new(train: Samples, test: 60, height: 24, width: 24);
        private readonly TrainingRun _files = new();

        internal string[] Options => [
            "--dataset", _data.Directory, "--model", _files.WriteFile("model.json", Model), "--batch-size", $"{BatchSize}",
            "--shards", $"{Shards}", "--epochs", $"{Epochs}"];

        internal string WeightsSha256 => _files.WeightsSha256;

        public async ValueTask InitializeAsync()
        {
            await using ProgramRun run = await _files.TrainAsync(null, ["--workers", "1", .. Options]);
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        public void Dispose()
        {
            _data.Dispose();
            _files.Dispose();
        }
    }
}
