using System.Diagnostics;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>What losing or slowing a worker costs. By the clock, and so only on a machine with nothing else to do.</summary>
public sealed class TimingTests : IDisposable
{
    // Steps of more than ten milliseconds, well above what the system gives a process at a time.
    private const string Model = """
        {"layers": [
          {"layer": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu"},
          {"layer": "MaxPooling2D", "pool_size": 2},
          {"layer": "Conv2D", "filters": 48, "kernel_size": 3, "activation": "relu"},
          {"layer": "Flatten"},
          {"layer": "Dense", "units": 10, "activation": "softmax"}]}
        """;

    private const int StepsPerEpoch = 50;
    private const int BatchSize = 512;

    private readonly TinyDataset _data = new(train: StepsPerEpoch * BatchSize, test: 20, height: 28, width: 28);
    private readonly TrainingRun _files = new();

    private string[] Options => [
        "--dataset", _data.Directory, "--model", _files.WriteFile("model.json", Model), "--out", _files.Out, "--ledger", _files.Ledger, "--epochs", "1000000",
        "--batch-size", $"{BatchSize}"];

    [Theory]
    [InlineData((int)PosixSignalNumber.Kill, 1.0)]
    [InlineData((int)PosixSignalNumber.Stop, 5.0)]
    public async Task OneWorkerOfThree_KilledOrStopped_CostsLittleTime(int signal, double mostSeconds)
    {
        LongTests.Require();
        const int Before = 300, After = 400;
        await using ProgramRun run = ProgramRun.Coordinator(["train", "--workers", "3", "--threads", "1", .. Options]);
        await StepsAsync(Before);
        ProgramRun.Signal(run.Children()[1], (PosixSignalNumber)signal);
        int moment = Ledger.Read(_files.Ledger).Count;
        await StepsAsync(moment + After);
        run.Signal(PosixSignalNumber.Kill);
        await run.ExitAsync();

        double[] steps = [.. Ledger.Read(_files.Ledger).Select(static line => line.Milliseconds)];
        double usual = Median(steps[100..Before]);
        double cost = steps[(moment - 1)..(moment + After)].Sum() - (usual * (After + 1));
        TestContext.Current.TestOutputHelper!.WriteLine($"usually {usual:0.0} ms a step; {(PosixSignalNumber)signal} cost {cost:0} ms, the longest step took {steps[(moment - 1)..(moment + After)].Max():0} ms");
        Assert.InRange(cost / 1000, double.MinValue, mostSeconds);
    }

    [Fact]
    public async Task OneWorkerOfTwo_SlowedToAThird_IsRelievedWithinAHundredSteps()
    {
        LongTests.Require();
        Assert.SkipUnless(File.Exists("/usr/bin/taskset") && Environment.ProcessorCount >= 2, "needs taskset and two cores");
        const int Before = 300, Within = 100, Judged = 200;
        await using ProgramRun run = ProgramRun.Coordinator(["train", "--workers", "2", "--threads", "1", .. Options]);
        await StepsAsync(1);
        IReadOnlyList<int> workers = run.Children();
        foreach ((int worker, int core) in workers.Select(static (worker, rank) => (worker, rank)))
            await PinAsync(worker, core);
        await StepsAsync(Before);
        await using ProgramRun busy = Burn(core: 1), busier = Burn(core: 1);
        int moment = Ledger.Read(_files.Ledger).Count;
        await StepsAsync(moment + Within + Judged);
        run.Signal(PosixSignalNumber.Kill);
        await run.ExitAsync();

        LedgerLine[] lines = [.. Ledger.Read(_files.Ledger)];
        double[] steps = [.. lines.Select(static line => line.Milliseconds)];
        double usual = Median(steps[100..Before]);
        // Speeds of 1 and 1/3 instead of 1 and 1: two thirds of the throughput.
        double ideal = usual * 3 / 2;
        double reached = steps[(moment + Within)..(moment + Within + Judged)].Average();
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{usual:0.0} ms a step before, {steps[moment..(moment + 20)].Average():0.0} ms at first, {reached:0.0} ms after {Within} steps, ideally {ideal:0.0} ms");
        TestContext.Current.TestOutputHelper.WriteLine($"leases, the slowing being at step {moment}:");
        string leases = "";
        for (int step = 0; step < lines.Length; step++)
        {
            string shares = string.Join(", ", lines[step].Partials.GroupBy(static partial => partial.Worker).OrderBy(static worker => worker.Key)
                .Select(static worker => $"{worker.Key} {worker.Sum(static partial => partial.Last - partial.First + 1)}"));
            if (shares != leases)
                TestContext.Current.TestOutputHelper.WriteLine($"from step {step}: {shares}");
            leases = shares;
        }

        Assert.InRange(reached, 0, ideal * 1.25);
    }

    public void Dispose()
    {
        _data.Dispose();
        _files.Dispose();
    }

    private static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);

    private static ProgramRun Burn(int core) => ProgramRun.Start("/usr/bin/taskset", "-c", $"{core}", "sh", "-c", "while :; do :; done");

    private static async Task PinAsync(int process, int core)
    {
        await using ProgramRun pinning = ProgramRun.Start("/usr/bin/taskset", "-a", "-c", "-p", $"{core}", $"{process}");
        await pinning.SucceedAsync();
    }

    private async Task StepsAsync(int steps)
    {
        long start = Stopwatch.GetTimestamp();
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(20));
        while (Ledger.Read(_files.Ledger).Count < steps)
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < ProgramRun.Deadline, $"no {steps} steps within {ProgramRun.Deadline}");
            await looks.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }
    }
}
