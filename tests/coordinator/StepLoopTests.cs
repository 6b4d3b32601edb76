using Distributed.Coordinator.Local;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Reduction;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

public sealed class StepLoopOfWholeVectorsTests() : StepLoopTests(takesChunks: false);

/// <summary>The step loop with workers that have no processes.</summary>
/// <param name="takesChunks">Vectors go to them and come from them in chunks.</param>
public abstract class StepLoopTests(bool takesChunks) : IDisposable
{
    private readonly TinyRun _tiny = new(train: 100, test: 45);
    private protected readonly RunInbox _inbox = new();
    private readonly RecordingObserver _observer = new();
    private readonly ManualTime _time = new();
    private readonly FakeLocalWorkers _local = new();
    private protected RunJournal _journal = new(TimeProvider.System);
    private bool _goWhole;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    [InlineData(8)]
    [InlineData(11)]
    public async Task Run_WithAnyNumberOfWorkers_GivesTheSameBits(int workers)
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(workers);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Equal(expected.Epochs.Select(static epoch => (epoch.Loss, epoch.TestLoss)), actual.Epochs.Select(static epoch => (epoch.Loss, epoch.TestLoss)));
        Assert.Equal(0, actual.LeasesMoved);
    }

    [Fact]
    public async Task Run_WithAWorkerLostInMidStep_RecomputesItsShardsInTheSameStep()
    {
        RunResult expected = await RunWholeAsync();
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
        RunResult expected = await RunWholeAsync();
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
        RunResult expected = await RunWholeAsync();
        FakeWorker late = new(9, _inbox);
        RunResult actual = await RunAsync(2, workers => workers[0].OnStep = order =>
        {
            if (order is { Epoch: 0, Step: 2 })
                _inbox.Post(new WorkerCalled(late));
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
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(2, static workers => workers[0].OnAnswer = static answer => [answer, answer]);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.StaleAnswers > 0);
    }

    public static TheoryData<int> WrongAnswers => [.. Enumerable.Range(0, s_wrongAnswers.Length)];

    private static readonly Func<PartialArrived, PartialArrived>[] s_wrongAnswers =
    [
        static answer => answer with { Order = answer.Order with { Run = answer.Order.Run + 1 } },
        static answer => answer with { Order = answer.Order with { MembershipVersion = answer.Order.MembershipVersion + 1 } },
        static answer => answer with { Order = answer.Order with { Step = answer.Order.Step + 1 } },
        static answer => answer with { Order = answer.Order with { Epoch = answer.Order.Epoch + 1 } },
        static answer => answer with { Node = answer.Node.Parent },
        static answer => answer with { Node = answer.Node.Sibling },
    ];

    [Theory]
    [MemberData(nameof(WrongAnswers))]
    public async Task Partial_OfAnotherRunMembershipStepOrLease_IsRefusedByNameAndComputedElsewhere(int wrong)
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(2, workers => workers[0].OnAnswer = answer => [answer.Order is { Epoch: 0, Step: 1 } ? s_wrongAnswers[wrong](answer) : answer]);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.StaleAnswers > 0);
        JournalEntry refused = Assert.Single(_journal.Latest(), static entry => entry.Kind == JournalKind.RefusedPartial);
        Assert.Equal("fake-1", refused.Worker);
        Assert.StartsWith("shards ", refused.Text, StringComparison.Ordinal);
        Assert.Equal("fake-1", Assert.Single(_journal.Latest(), static entry => entry.Kind == JournalKind.Evicted).Worker);
    }

    [Fact]
    public async Task Partial_OfTheWrongLength_IsRefusedAndComputedElsewhere()
    {
        RunResult expected = await RunWholeAsync();
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
    public async Task Partial_ThatIsNotFiniteWhoeverComputesIt_EndsTheRunNamingLayerShardAndSamples()
    {
        // The second step's microbatch of shard 5 is bad: alone, and in every sum with it.
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(3, workers =>
        {
            foreach (FakeWorker worker in workers)
                worker.OnAnswer = static answer => [answer.Order is { Epoch: 0, Step: 1 } && Covers(answer.Node, 5) ? WithNaN(answer) : answer];
        }));
        Assert.Contains("dense_1/bias", failure.Message, StringComparison.Ordinal);
        Assert.Contains("shard 5,", failure.Message, StringComparison.Ordinal);
        Assert.Contains("step 2", failure.Message, StringComparison.Ordinal);
        Assert.Contains("--learning-rate", failure.Message, StringComparison.Ordinal);
        RunDefinition run = new(new RunOptions { BatchSize = 32, Shards = 8 }, _tiny.Dataset, _tiny.Model);
        Assert.Contains($"samples {string.Join(", ", run.Plan.SampleNumbers(0, 5, 1))} of", failure.Message, StringComparison.Ordinal);
        Assert.Equal(2, _journal.Count(JournalKind.RefusedPartial));
        Assert.Equal(0, _journal.Count(JournalKind.Evicted));
    }

    [Fact]
    public async Task Partial_ThatIsNotFiniteOfOneWorkerAlone_IsComputedElsewhereAndTheWorkerGivenUp()
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(3, static workers => workers[1].OnAnswer = static answer => [answer.Order is { Epoch: 1, Step: 1 } ? WithNaN(answer) : answer]);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.All(_journal.Latest().Where(static entry => entry.Kind == JournalKind.RefusedPartial), static refused =>
        {
            Assert.Equal("fake-2", refused.Worker);
            Assert.Contains("shard", refused.Text, StringComparison.Ordinal);
            Assert.Contains("dense_1/bias", refused.Text, StringComparison.Ordinal);
        });
        Assert.True(_journal.Count(JournalKind.RefusedPartial) > 0);
        Assert.Equal("fake-2", Assert.Single(_journal.Latest(), static entry => entry.Kind == JournalKind.Evicted).Worker);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Partial_ThatIsNotFiniteOfTheOnlyWorker_IsComputedAgainByIt(bool isBadAgain)
    {
        RunResult expected = await RunWholeAsync();
        int bad = 0;
        Task<RunResult> running = RunAsync(1, workers => workers[0].OnAnswer = answer =>
            [answer.Order is { Epoch: 0, Step: 2 } && (isBadAgain || bad++ == 0) ? WithNaN(answer) : answer]);
        if (isBadAgain)
            Assert.Contains("fake-1, twice", (await Assert.ThrowsAsync<RunFailedException>(() => running)).Message, StringComparison.Ordinal);
        else
            Assert.Equal(expected.WeightsSha256, (await running).WeightsSha256);
    }

    [Fact]
    public async Task Worker_AnsweringAfterItsEviction_IsNotHeardAndMayJoinAgain()
    {
        RunResult expected = await RunWholeAsync();
        PartialArrived? late = null;
        FakeWorker again = new(9, _inbox);
        RunResult actual = await RunAsync(2, workers =>
        {
            workers[1].OnAnswer = answer =>
            {
                if (answer.Order is not { Epoch: 0, Step: 1 })
                    return [answer];
                late = answer;
                _inbox.Post(new WorkerLeft(2, "nothing was heard from it"));
                _inbox.Post(late);
                _inbox.Post(new WorkerCalled(again));
                return [];
            };
        });
        Assert.NotNull(late);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(actual.StaleAnswers > 0);
        Assert.NotEmpty(again.Orders);
    }

    [Fact]
    public async Task Spares_BeyondTheShards_WaitAndTakeOverAtOnce()
    {
        RunResult expected = await RunWholeAsync();
        FakeWorker? spare = null;
        RunResult actual = await RunAsync(9, workers =>
        {
            spare = workers[8];
            workers[3].OnStep = order =>
            {
                if (order is not { Epoch: 1, Step: 1 })
                    return true;
                Assert.Empty(spare.Orders);
                _inbox.Post(new WorkerLeft(4, "it was shot"));
                return false;
            };
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(spare!.Orders[0].Order is { Epoch: 1, Step: 1 });
    }

    [Fact]
    public async Task Candidate_ThatCannotRunTheModel_IsRefusedByNameAndGetsNoLeases()
    {
        FakeWorker candidate = new(9, _inbox) { OnWelcome = static () => false };
        await RunAsync(2, workers => workers[0].OnStep = order =>
        {
            if (order is { Epoch: 0, Step: 1 })
            {
                _inbox.Post(new WorkerCalled(candidate));
                _inbox.Post(new WorkerDeclined(9, "it cannot run the model: too large"));
                _inbox.Post(new WorkerLeft(9, "it cannot run the model: too large"));
            }

            return true;
        });
        Assert.Empty(candidate.Orders);
        JournalEntry refused = Assert.Single(_journal.Latest(), static entry => entry.Kind == JournalKind.RefusedWorker);
        Assert.Equal("fake-9", refused.Worker);
        Assert.Contains("too large", refused.Text, StringComparison.Ordinal);
        Assert.Equal(0, _journal.Count(JournalKind.Evicted));
    }

    [Fact]
    public async Task Run_BelowMinWorkers_PausesAndGoesOnWhenEnoughAreBack()
    {
        RunResult expected = await RunWholeAsync();
        FakeWorker substitute = new(9, _inbox);
        int ordersWhilePaused = 0;
        bool isPaused = false;
        RunResult actual = await RunAsync(2, workers =>
        {
            workers[0].OnStep = _ =>
            {
                ordersWhilePaused += isPaused ? 1 : 0;
                return true;
            };
            workers[1].OnStep = order =>
            {
                if (order is not { Epoch: 0, Step: 2 })
                    return true;
                isPaused = true;
                _inbox.Post(new WorkerLeft(2, "it was shot"));
                // Long, but not too long.
                workers[0].OnLook = () => Advance(9);
                _inbox.Post(new HeartbeatDue());
                _inbox.Post(new WorkerCalled(substitute));
                return false;
            };
            substitute.OnWelcome = () => !(isPaused = false);
        }, new RunOptions { Workers = 0, MinWorkers = 2 });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Equal(0, ordersWhilePaused);
        Assert.Equal(
            [JournalKind.Evicted, JournalKind.LeasesMoved, JournalKind.Paused, JournalKind.Joined, JournalKind.Continued],
            _journal.Latest().Select(static entry => entry.Kind).SkipWhile(static kind => kind != JournalKind.Evicted).Take(5));
    }

    [Fact]
    public async Task Run_BelowMinWorkersForTooLong_FailsClearly()
    {
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(2, workers => workers[1].OnStep = order =>
        {
            _inbox.Post(new WorkerLeft(2, "it was shot"));
            workers[0].OnLook = () => Advance(10.1);
            _inbox.Post(new HeartbeatDue());
            return false;
        }, new RunOptions { Workers = 0, MinWorkers = 2 }));
        Assert.Contains("--worker-timeout", failure.Message, StringComparison.Ordinal);
        Assert.Contains("1 of at least 2", failure.Message, StringComparison.Ordinal);
        Assert.Contains("it was shot", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task LocalWorkers_ThatDie_AreReplacedUntilTheRestartsAreUsedUp()
    {
        RunResult expected = await RunWholeAsync();
        int id = 10;
        _local.OnReplace = name => _inbox.Post(new WorkerCalled(new FakeWorker(++id, _inbox, name)));
        RunResult actual = await RunAsync(2, workers =>
        {
            foreach (FakeWorker worker in workers)
            {
                worker.OnStep = order =>
                {
                    if (order is not { Epoch: 0, Step: 2 })
                        return true;
                    _inbox.Post(new LocalWorkerExited($"worker-{worker.Member.Id}", 137, "ended with exit code 137"));
                    _inbox.Post(new WorkerLeft(worker.Member.Id, "the connection broke"));
                    return false;
                };
            }
        }, new RunOptions { MaxRestarts = 2 });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Equal(["worker-1", "worker-2"], _local.Replaced);
        Assert.Equal(2, _journal.Count(JournalKind.Restarted));
    }

    [Fact]
    public async Task LocalWorker_ThatCannotJoin_FailsTheRunAtOnce()
    {
        Task<RunResult> running = RunAsync(1, _ => _inbox.Post(new LocalWorkerExited("worker-1", 1, "ended with exit code 1")));
        Assert.Contains("worker-1 could not join", (await Assert.ThrowsAsync<RunFailedException>(() => running)).Message, StringComparison.Ordinal);
        Assert.Empty(_local.Replaced);
    }

    [Fact]
    public async Task Worker_ThatFallsSilent_LosesItsLeases()
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(2, workers => workers[1].OnStep = order =>
        {
            if (order is not { Epoch: 0, Step: 1 })
                return true;
            TimeSpan silence = TimeSpan.Zero;
            workers[1].OnLook = () =>
            {
                _time.Advance(TimeSpan.FromSeconds(0.5));
                return silence += TimeSpan.FromSeconds(0.5);
            };
            for (int look = 1; look <= 7; look++)
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
            _inbox.Post(new LocalWorkerExited("worker-1", 137, "ended with exit code 137"));
            _inbox.Post(new WorkerLeft(1, "the connection broke"));
            return false;
        }, new RunOptions { MaxRestarts = 0 }));
        Assert.Contains("no worker is left", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_WithMaxStepsInAnEpoch_EndsWithAPartialEntry()
    {
        RunResult result = await RunAsync(2, options: new RunOptions { MaxSteps = 5 });
        Assert.Equal([4, 1], result.Epochs.Select(static epoch => epoch.Steps));
        Assert.Equal([1, 2], _observer.Ended);
    }

    public void Dispose()
    {
        _tiny.Dispose();
        GC.SuppressFinalize(this);
    }

    /// <summary>What every run must come to: that of one worker to which vectors go whole.</summary>
    private protected async Task<RunResult> RunWholeAsync()
    {
        _goWhole = true;
        RunResult result = await RunAsync(1);
        _goWhole = false;
        return result;
    }

    /// <summary>100 samples in batches of 32: four steps an epoch, the last of 4 samples, which only shard 0 has.</summary>
    private protected async Task<RunResult> RunAsync(int workers, Action<FakeWorker[]>? arrange = null, RunOptions? options = null)
    {
        options ??= new RunOptions { Workers = workers };
        options = options with { Workers = options.IsSingleMachine ? workers : 0, BatchSize = 32, Shards = 8, Epochs = 2, TestBlockSamples = 10, ChunkBytes = 200 };
        RunDefinition run = new(options, _tiny.Dataset, _tiny.Model);
        FakeWorker[] fakes = [.. Enumerable.Range(1, workers).Select(id => new FakeWorker(id, _inbox) { TakesChunks = takesChunks && !_goWhole })];
        arrange?.Invoke(fakes);
        foreach (FakeWorker fake in fakes)
            _inbox.Post(new WorkerCalled(fake));
        _observer.Ended.Clear();
        _journal = new RunJournal(TimeProvider.System);
        StepLoop loop = new(run, _inbox, _observer, new RunMonitor(options, _journal), NullLogger.Instance, _time, options.IsSingleMachine ? _local : null, null);
        RunResult result = await loop.RunAsync(TestContext.Current.CancellationToken);
        while (_inbox.TryTake(out _))
        {
        }

        return result;
    }

    private TimeSpan Advance(double minutes)
    {
        _time.Advance(TimeSpan.FromMinutes(minutes));
        return TimeSpan.Zero;
    }

    private protected static bool Covers(TreeNode node, int shard) => shard >> node.Level == node.Index;

    private static PartialArrived WithNaN(PartialArrived answer)
    {
        byte[] gradient = answer.Gradient.ToArray();
        BitConverter.TryWriteBytes(gradient.AsSpan(gradient.Length - 4), float.NaN);
        return answer with { Gradient = gradient };
    }

    private sealed class FakeLocalWorkers : ILocalWorkers
    {
        public Action<string> OnReplace { get; set; } = static _ => { };

        public List<string> Replaced { get; } = [];

        public void Replace(string name)
        {
            Replaced.Add(name);
            OnReplace(name);
        }
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
