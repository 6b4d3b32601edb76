using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

public sealed class StepLoopTests : IDisposable
{
    private readonly TinyRun _tiny = new(train: 100, test: 45);
    private readonly RunInbox _inbox = new();
    private readonly RecordingObserver _observer = new();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(8)]
    [InlineData(11)]
    public async Task Run_WithAnyNumberOfWorkers_GivesTheSameBits(int workers)
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(workers);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Equal(expected.Epochs.Select(static epoch => (epoch.Loss, epoch.TestLoss)), actual.Epochs.Select(static epoch => (epoch.Loss, epoch.TestLoss)));
        Assert.Equal(0, actual.LeasesMoved);
    }

    [Fact]
    public async Task Run_WithAWorkerLostInMidStep_RecomputesItsShardsInTheSameStep()
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(3, workers => workers[1].OnStep = order =>
        {
            if (order is not { Epoch: 1, Step: 2 })
                return true;
            _inbox.Post(new WorkerLeft(2, "it was shot"));
            return false;
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.LeasesMoved > 0);
    }

    [Fact]
    public async Task Run_WithAWorkerLostInAnEvaluation_ScoresEveryImageOnce()
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(3, workers => workers[2].OnEvaluate = () =>
        {
            _inbox.Post(new WorkerLeft(3, "it was shot"));
            return false;
        });
        Assert.Equal(expected.Test!.Loss, actual.Test!.Loss);
        Assert.Equal(expected.Test.Correct, actual.Test.Correct);
    }

    [Fact]
    public async Task Run_WithALateJoiner_GivesItLeasesAtTheNextStep()
    {
        RunResult expected = await RunAsync(1);
        FakeWorker late = new(9, _inbox);
        RunResult actual = await RunAsync(2, workers => workers[0].OnStep = order =>
        {
            if (order is { Epoch: 0, Step: 2 })
                _inbox.Post(new WorkerJoined(late));
            return true;
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.NotEmpty(late.Orders);
        Assert.All(late.Orders, static order => Assert.True(order.Order is { Epoch: > 0 } or { Step: > 2 }));
        Assert.True(late.IsDrained);
    }

    [Fact]
    public async Task Partial_SentTwice_IsAddedOnce()
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(2, static workers => workers[0].OnAnswer = static answer => [answer, answer]);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.StaleAnswers > 0);
    }

    [Fact]
    public async Task Partial_OfAnotherRunMembershipOrStep_IsDroppedAndCounted()
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(2, static workers => workers[0].OnAnswer = static answer =>
        [
            answer with { Order = answer.Order with { RunId = "other" } },
            answer with { Order = answer.Order with { MembershipVersion = answer.Order.MembershipVersion + 1 } },
            answer with { Order = answer.Order with { Step = answer.Order.Step + 1 } },
            answer with { Order = answer.Order with { Epoch = answer.Order.Epoch + 1 } },
            answer with { Worker = 2 },
            answer with { Node = answer.Node.Parent },
            answer,
        ]);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.StaleAnswers >= 6 * expected.Epochs.Sum(static epoch => epoch.Steps));
    }

    [Fact]
    public async Task Partial_OfTheWrongLength_IsRefusedAndComputedElsewhere()
    {
        RunResult expected = await RunAsync(1);
        FakeWorker? bad = null;
        RunResult actual = await RunAsync(2, workers =>
        {
            bad = workers[0];
            bad.OnAnswer = static answer => [answer with { Gradient = answer.Gradient[..^4] }];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains("bytes", bad!.CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Partial_ThatIsNotFinite_EndsTheRunNamingTheLayer()
    {
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(2, static workers => workers[1].OnAnswer = static answer =>
        {
            byte[] gradient = answer.Gradient.ToArray();
            BitConverter.TryWriteBytes(gradient.AsSpan(gradient.Length - 4), float.NaN);
            return [answer with { Gradient = gradient }];
        }));
        Assert.Contains("dense_1/bias", failure.Message, StringComparison.Ordinal);
        Assert.Contains("--learning-rate", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_ThatFallsSilent_LosesItsLeases()
    {
        RunResult expected = await RunAsync(1);
        RunResult actual = await RunAsync(2, workers => workers[1].OnStep = order =>
        {
            if (order is not { Epoch: 0, Step: 1 })
                return true;
            workers[1].Silence = TimeSpan.FromMinutes(1);
            _inbox.Post(new HeartbeatDue());
            return false;
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
    }

    [Fact]
    public async Task Run_WithoutAnyWorkerLeft_FailsNamingTheLast()
    {
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(1, workers => workers[0].OnStep = _ =>
        {
            _inbox.Post(new LocalWorkerExited("worker-1", "ended with exit code 137", 0));
            _inbox.Post(new WorkerLeft(1, "the connection broke"));
            return false;
        }));
        Assert.Contains("no worker is left", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_WithMaxStepsInAnEpoch_EndsWithAPartialEntry()
    {
        RunResult result = await RunAsync(2, options: new RunOptions { MaxSteps = 5 });
        Assert.Equal([4, 1], result.Epochs.Select(static epoch => epoch.Steps));
        Assert.Equal([1, 2], _observer.Ended);
    }

    public void Dispose() => _tiny.Dispose();

    /// <summary>100 samples in batches of 32: four steps an epoch, the last of 4 samples, which only shard 0 has.</summary>
    private async Task<RunResult> RunAsync(int workers, Action<FakeWorker[]>? arrange = null, RunOptions? options = null)
    {
        options = (options ?? new RunOptions()) with { Workers = workers, BatchSize = 32, Shards = 8, Epochs = 2, TestBlockSamples = 10 };
        RunDefinition run = new(options, _tiny.Dataset, _tiny.Model);
        FakeWorker[] fakes = [.. Enumerable.Range(1, workers).Select(id => new FakeWorker(id, _inbox))];
        arrange?.Invoke(fakes);
        foreach (FakeWorker fake in fakes)
            _inbox.Post(new WorkerJoined(fake));
        _observer.Ended.Clear();
        RunResult result = await new StepLoop(run, _inbox, _observer, new RunMonitor(options, new RunJournal(TimeProvider.System)), NullLogger.Instance).RunAsync(TestContext.Current.CancellationToken);
        while (_inbox.TryTake(out _))
        {
        }

        return result;
    }

    private sealed class RecordingObserver : IRunObserver
    {
        public List<int> Ended { get; } = [];

        public void EpochStarted(int epoch, int epochs, RunProgress progress)
        {
        }

        public void EpochEnded(EpochReport report) => Ended.Add(report.Epoch);
    }
}
