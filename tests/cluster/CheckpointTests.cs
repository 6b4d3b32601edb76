using System.Diagnostics;
using System.Globalization;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>A coordinator that is killed, stopped or robbed of its disk: what is kept, and that going on ends at the same weights.</summary>
public sealed class CheckpointTests : IDisposable
{
    // 188 steps an epoch; a run that is to be broken off has no end, whatever the machine's speed.
    private const int StepsPerEpoch = 188;
    private const int Endless = 1_000_000;

    private readonly TinyDataset _data = new(train: 3000);
    private readonly TrainingRun _undisturbed = new(), _files = new();
    private readonly List<string> _options;

    public CheckpointTests() => _options =
    [
        "--dataset", _data.Directory, "--model", _undisturbed.WriteSmallModel(), "--batch-size", "16", "--threads", "1",
    ];

    [Fact]
    public async Task Run_InElevenSittings_EndsWithTheSameWeights()
    {
        int seed = Random.Shared.Next();
        Random random = new(seed);
        int[] ends = [.. Enumerable.Range(1, 2 * StepsPerEpoch).OrderBy(_ => random.Next()).Take(10).Order(), 2 * StepsPerEpoch];
        foreach (int end in ends)
        {
            await using ProgramRun run = Start($"{random.Next(1, 4)}", "--resume", "--epochs", "2", "--max-steps", $"{end}");
            await run.SucceedAsync();
        }

        await using ProgramRun reference = await _undisturbed.TrainAsync(null, ["--workers", "1", "--epochs", "2", .. _options]);
        Assert.True(_undisturbed.WeightsSha256 == _files.WeightsSha256, $"seed {seed}, sittings to {string.Join(", ", ends)}: {_files.WeightsSha256}, not {_undisturbed.WeightsSha256}");
        AssertSameEpochs();
    }

    [Theory]
    [InlineData("float32")]
    [InlineData("bf16")]
    public async Task Coordinator_KilledAtRandomCheckpoints_EndsWithTheSameWeights(string wire)
    {
        _options.AddRange(["--wire", wire]);
        int seed = Random.Shared.Next();
        Random random = new(seed);
        for (int kill = 1; kill <= 3; kill++)
        {
            await using ProgramRun run = Start("2", "--checkpoint-every", $"{random.Next(1, 40)}", "--resume", "--epochs", $"{Endless}");
            await _files.CheckpointAsync(Newest() + random.Next(1, 200));
            IReadOnlyList<int> workers = run.Children();
            run.Signal(PosixSignalNumber.Kill);
            await run.ExitAsync();
            await ProgramRun.GoneAsync(workers);
        }

        await AssertGoesOnAsync($"seed {seed}");
    }

    [Theory]
    [InlineData((int)PosixSignalNumber.Interrupt, 130)]
    [InlineData((int)PosixSignalNumber.Terminate, 143)]
    public async Task Coordinator_ToldToStop_KeepsACheckpointAndSaysHowToGoOn(int signal, int expectedCode)
    {
        await using (ProgramRun run = Start("2", "--checkpoint-every", "50", "--epochs", $"{Endless}"))
        {
            await _files.CheckpointAsync(1);
            IReadOnlyList<int> workers = run.Children();
            run.Signal((PosixSignalNumber)signal);
            Assert.Equal(expectedCode, await run.ExitAsync());
            string line = run.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1];
            Assert.Contains(_files.CheckpointNames[^1], line, StringComparison.Ordinal);
            Assert.Contains("--resume", line, StringComparison.Ordinal);
            await ProgramRun.GoneAsync(workers);
        }

        await AssertGoesOnAsync("after the signal");
    }

    [Fact]
    public async Task Coordinator_ToldToStopWhileAWorkerHangs_GoesAllTheSame()
    {
        await using ProgramRun run = Start("2", "--checkpoint-every", "50", "--epochs", $"{Endless}");
        await _files.CheckpointAsync(1);
        IReadOnlyList<int> workers = run.Children();
        ProgramRun.Signal(workers[0], PosixSignalNumber.Stop);
        long start = Stopwatch.GetTimestamp();
        run.Signal(PosixSignalNumber.Terminate);
        Assert.Equal(143, await run.ExitAsync());
        TestContext.Current.TestOutputHelper?.WriteLine($"gone after {Stopwatch.GetElapsedTime(start).TotalSeconds:0.00} s");
        await ProgramRun.GoneAsync(workers);
    }

    [Fact]
    public async Task Resume_OfARunThatIsDone_WritesItsResultsAtOnce()
    {
        await using ProgramRun first = await _undisturbed.TrainAsync(null, ["--workers", "2", "--checkpoint-dir", _files.Checkpoints, "--epochs", "2", .. _options]);
        await using ProgramRun again = Start("2", "--resume", "--epochs", "2");
        await again.SucceedAsync();
        Assert.Equal(_undisturbed.WeightsSha256, _files.WeightsSha256);
        AssertSameEpochs();
        Assert.Equal(_undisturbed.Json.GetProperty("test_accuracy").GetDouble(), _files.Json.GetProperty("test_accuracy").GetDouble());
        Assert.Equal($"checkpoint-{2 * StepsPerEpoch:D10}", _files.CheckpointNames[^1]);

        // The weights of a checkpoint are a model file like any other.
        await using ProgramRun evaluation = ProgramRun.Coordinator("evaluate", "--weights", Path.Combine(_files.Checkpoints, _files.CheckpointNames[^1], "model.safetensors"));
        await evaluation.SucceedAsync();
    }

    [Fact]
    public async Task Resume_WithAnotherSeed_ExitsWithTwo()
    {
        await using ProgramRun first = await _undisturbed.TrainAsync(null, ["--workers", "1", "--checkpoint-dir", _files.Checkpoints, "--max-steps", "3", .. _options]);
        await using ProgramRun other = Start("1", "--resume", "--seed", "2");
        Assert.Equal(2, await other.ExitAsync());
        Assert.Contains("--seed is 1 there, 2 here", other.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", other.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Resume_WithoutACheckpoint_SaysSoAndTrains()
    {
        await using ProgramRun run = Start("1", "--resume", "--max-steps", "3");
        await run.SucceedAsync();
        Assert.Contains("no checkpoint in", run.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disk_ThatIsFull_IsReportedAndTheRunEndsWithResultsAndOne()
    {
        // One page: enough for the directory and its lock, for no checkpoint.
        using Mount disk = Mount.Create("tmpfs", _files.Checkpoints, "size=4k");
        await using ProgramRun reference = await _undisturbed.TrainAsync(null, ["--workers", "1", "--max-steps", "30", .. _options]);
        await using ProgramRun run = Start("2", "--max-steps", "30", "--checkpoint-every", "10");
        Assert.Equal(1, await run.ExitAsync());
        Assert.Contains("no space left on the disk", run.Errors, StringComparison.Ordinal);
        Assert.StartsWith("coordinator: ", run.Errors.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
        Assert.Equal(_undisturbed.WeightsSha256, _files.WeightsSha256);
        Assert.Empty(Directory.EnumerateDirectories(_files.Checkpoints));
    }

    [Fact]
    public async Task Disk_ThatIsReadOnlyFromTheStart_IsRefused()
    {
        using Mount disk = Mount.Create("tmpfs", _files.Checkpoints, "ro");
        await using ProgramRun run = Start("1");
        Assert.Equal(2, await run.ExitAsync());
        Assert.Contains("read-only", run.Errors, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _data.Dispose();
        _undisturbed.Dispose();
        _files.Dispose();
    }

    private ProgramRun Start(string workers, params string[] more) =>
        ProgramRun.Coordinator(["train", "--out", _files.Out, "--checkpoint-dir", _files.Checkpoints, "--workers", workers, .. _options, .. more]);

    /// <summary>Goes on for some steps more, and holds the end against a run that was never broken off.</summary>
    private async Task AssertGoesOnAsync(string situation)
    {
        string end = $"{Newest() + 100}";
        await using ProgramRun resumed = Start("3", "--resume", "--epochs", $"{Endless}", "--max-steps", end);
        await resumed.SucceedAsync();
        Assert.Contains("resuming from", resumed.Errors, StringComparison.Ordinal);
        await using ProgramRun reference = await _undisturbed.TrainAsync(null, ["--workers", "1", "--epochs", $"{Endless}", "--max-steps", end, .. _options]);
        Assert.True(_undisturbed.WeightsSha256 == _files.WeightsSha256, $"{situation}: {_files.WeightsSha256}, not {_undisturbed.WeightsSha256}");
        AssertSameEpochs();
    }

    private long Newest() => _files.CheckpointNames is [.., string newest] ? long.Parse(newest[11..], CultureInfo.InvariantCulture) : 0;

    /// <summary>Every epoch once, each with the same figures: no sample was trained on twice or left out.</summary>
    private void AssertSameEpochs()
    {
        string[] names = ["epoch", "loss", "accuracy", "test_loss", "test_accuracy", "weights_sha256"];
        Assert.Equal(Figures(_undisturbed), Figures(_files));

        IEnumerable<string> Figures(TrainingRun run) =>
            from epoch in run.Json.GetProperty("epochs").EnumerateArray()
            from name in names
            select epoch.GetProperty(name).ToString();
    }

    /// <summary>A file system of a test's own; needs root, elsewhere the test is skipped.</summary>
    private sealed class Mount : IDisposable
    {
        private readonly string _place;

        private Mount(string place) => _place = place;

        public static Mount Create(string type, string place, string options)
        {
            Directory.CreateDirectory(place);
            Assert.SkipUnless(Run("mount", "-t", type, "-o", options, "none", place), "needs root to mount a file system");
            return new Mount(place);
        }

        public void Dispose() => Assert.True(Run("umount", "-l", _place), $"{_place} is left mounted");

        private static bool Run(string program, params string[] arguments)
        {
            try
            {
                using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
                process.WaitForExit();
                return process.ExitCode == 0;
            }
            catch (System.ComponentModel.Win32Exception)
            {
                return false;
            }
        }
    }
}
