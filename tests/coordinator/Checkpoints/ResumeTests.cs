using System.Text.Json;
using System.Text.Json.Nodes;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Training;
using Distributed.Optimizers;

namespace Distributed.Tests.Checkpoints;

/// <summary>A run that goes on from a checkpoint is the run that was never interrupted.</summary>
public sealed class ResumeTests : IDisposable
{
    private const int Steps = 12;

    private readonly CheckpointedRun _runs = new();

    public static TheoryData<OptimizerSettings> Optimizers { get; } =
    [
        OptimizerSettings.Default(OptimizerKind.Rmsprop),
        OptimizerSettings.Default(OptimizerKind.Adam),
        OptimizerSettings.Default(OptimizerKind.Sgd) with { Momentum = 0.9, Nesterov = true },
    ];

    private RunOptions Undisturbed => _runs.Options with { CheckpointDirectory = null };

    private RunOptions Resuming => _runs.Options with { Resume = true };

    [Theory]
    [MemberData(nameof(Optimizers))]
    public async Task Run_ResumedAtAnyStep_EndsWithTheSameBits(OptimizerSettings optimizer)
    {
        RunResult expected = await _runs.RunAsync(Undisturbed with { Optimizer = optimizer });
        for (int step = 1; step < Steps; step++)
        {
            Directory.Delete(_runs.Directory, recursive: true);
            await _runs.RunAsync(_runs.Options with { Optimizer = optimizer, MaxSteps = step });
            RunResult actual = await _runs.RunAsync(Resuming with { Optimizer = optimizer, Workers = 3 });
            Assert.True(expected.WeightsSha256 == actual.WeightsSha256, $"resumed at step {step}: {actual.WeightsSha256}, not {expected.WeightsSha256}");
            AssertSameReports(expected, actual);
        }
    }

    [Fact]
    public async Task Run_InterruptedAfterEveryStep_EndsWithTheSameBits()
    {
        RunResult expected = await _runs.RunAsync(Undisturbed);
        for (int sitting = 0; sitting < Steps; sitting++)
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _runs.RunAsync(Resuming, static (workers, stop) => workers[0].OnStep = _ =>
            {
                stop.Cancel();
                return true;
            }));
            Assert.Equal($"checkpoint-{sitting + 1:D10}", _runs.Names[^1]);
        }

        // All that is left is to score the test set.
        RunResult actual = await _runs.RunAsync(Resuming, static (workers, _) => workers[0].OnStep = static _ => throw new InvalidOperationException("no step is left"));
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        AssertSameReports(expected, actual);
        Assert.Equal(Steps, _runs.Journal.Count(JournalKind.Stopping));
    }

    [Fact]
    public async Task Run_StoppedWhileAWorkerHangs_KeepsTheStepsThatAreDone()
    {
        RunResult expected = await _runs.RunAsync(Undisturbed);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _runs.RunAsync(_runs.Options, static (workers, stop) => workers[1].OnStep = order =>
        {
            if (order is not { Epoch: 1, Step: 2 })
                return true;
            stop.Cancel();
            return false;
        }));
        Assert.Equal((2, 2), (_runs.Latest!.Epoch, _runs.Latest.Step));
        Assert.Equal(expected.WeightsSha256, (await _runs.RunAsync(Resuming)).WeightsSha256);
    }

    [Fact]
    public async Task Run_StoppedInAnEvaluation_RepeatsItAlone()
    {
        RunResult expected = await _runs.RunAsync(Undisturbed);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _runs.RunAsync(_runs.Options with { CheckpointEvery = 0 }, static (workers, stop) => workers[0].OnEvaluate = () =>
        {
            stop.Cancel();
            return false;
        }));
        RunResult actual = await _runs.RunAsync(Resuming, static (workers, _) => workers[0].OnStep = static order =>
            order.Epoch > 0 ? true : throw new InvalidOperationException("the epoch is done"));
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        AssertSameReports(expected, actual);
    }

    [Fact]
    public async Task Run_ThatFails_KeepsTheStepsThatAreDone()
    {
        await Assert.ThrowsAsync<RunFailedException>(() => _runs.RunAsync(_runs.Options with { CheckpointEvery = 0 }, static (workers, _) =>
        {
            foreach (FakeWorker worker in workers)
                worker.OnAnswer = static answer => [answer.Order is { Step: 3 } ? answer with { LossSum = double.NaN } : answer];
        }));
        Assert.Equal((1, 3), (_runs.Latest!.Epoch, _runs.Latest.Step));
    }

    [Fact]
    public async Task Run_ThatIsDone_IsKnownToBe()
    {
        await _runs.RunAsync();
        using CheckpointFolder folder = CheckpointFolder.Open(Resuming)!;
        RunPosition position = folder.ReadNewest(Fail)!.Position;
        Assert.True(position.IsEndOf(Resuming));
        Assert.True(position.IsEndOf(Resuming with { MaxSteps = Steps }));
        Assert.False(position.IsEndOf(Resuming with { Epochs = 4 }));
        Assert.True(position.IsPast(Resuming with { Epochs = 2 }));
        Assert.True(position.IsPast(Resuming with { MaxSteps = Steps - 1 }));
        Assert.False(position.IsPast(Resuming));
        Assert.Equal((3, 4), position.Place);
    }

    [Fact]
    public async Task Run_EndedWithinAnEpochByMaxSteps_IsDoneWithItsPartialReport()
    {
        await _runs.RunAsync(_runs.Options with { MaxSteps = 6 });
        using CheckpointFolder folder = CheckpointFolder.Open(Resuming)!;
        RunPosition position = folder.ReadNewest(Fail)!.Position;
        Assert.True(position.IsEndOf(Resuming with { MaxSteps = 6 }));
        Assert.False(position.IsEndOf(Resuming));
        Assert.Equal([4, 2], position.Reports.Select(static report => report.Steps));
    }

    [Fact]
    public async Task Run_ResumedForMoreEpochs_IsTheLongerRun()
    {
        RunResult expected = await _runs.RunAsync(Undisturbed with { Epochs = 5 });
        await _runs.RunAsync();
        RunResult actual = await _runs.RunAsync(Resuming with { Epochs = 5 });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        AssertSameReports(expected, actual);
    }

    [Fact]
    public async Task Run_ResumedWithFewerWorkers_CountsThoseOfAllSittings()
    {
        RunResult first = await _runs.RunAsync(_runs.Options with { Workers = 3, MaxSteps = 6 }, static (workers, _) =>
            workers[2].OnAnswer = static answer => [answer.Order.Step == 2 ? answer with { Samples = 99 } : answer]);
        Assert.Equal(3, first.Workers);
        Assert.True(first.LeasesMoved > 0);
        RunResult second = await _runs.RunAsync(Resuming with { Workers = 2 });
        Assert.Equal((3, first.LeasesMoved), (second.Workers, second.LeasesMoved));
    }

    [Fact]
    public void Position_OfAnOlderCheckpoint_IsReadWithoutTheCounts()
    {
        RunPosition written = RunPosition.Start(4) with { Workers = 3, LeasesMoved = 5 };
        string json = JsonSerializer.Serialize(written, CheckpointContext.Default.RunPosition);
        Assert.Equal((3, 5), Read(json));
        JsonObject older = JsonNode.Parse(json)!.AsObject();
        Assert.True(older.Remove("workers") && older.Remove("leases_moved"));
        Assert.Equal((0, 0), Read(older.ToJsonString()));

        static (int, int) Read(string json) =>
            JsonSerializer.Deserialize(json, CheckpointContext.Default.RunPosition) is { } position ? (position.Workers, position.LeasesMoved) : default;
    }

    [Fact]
    public async Task Resume_WithOtherSettings_IsRefusedNamingThem()
    {
        await _runs.RunAsync();
        string message = (await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync(Resuming with
        {
            BatchSize = 16,
            Seed = 2,
            Shuffle = false,
            Optimizer = Resuming.Optimizer with { LearningRate = 0.5 },
        }))).Message;
        foreach (string part in new[] { "--batch-size is 32 there, 16 here", "--seed is 1 there, 2 here", "--no-shuffle", "--learning-rate is 0.001 there, 0.5 here" })
            Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain("--shards", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public async Task Resume_PastTheEnd_IsRefused()
    {
        await _runs.RunAsync();
        Assert.Contains("--epochs", (await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync(Resuming with { Epochs = 2 }))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Resume_WithoutACheckpoint_StartsAtTheBeginning() =>
        Assert.Equal((await _runs.RunAsync(Undisturbed)).WeightsSha256, (await _runs.RunAsync(Resuming)).WeightsSha256);

    public void Dispose() => _runs.Dispose();

    private static void Fail(string path, string fault) => Assert.Fail($"{path}: {fault}");

    private static void AssertSameReports(RunResult expected, RunResult actual) => Assert.Equal(expected.Epochs.Select(Timeless), actual.Epochs.Select(Timeless));

    private static EpochReport Timeless(EpochReport report) => report with { Seconds = 0, ImagesPerSecond = 0 };
}
