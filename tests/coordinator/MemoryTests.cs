using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>Alone in the process while it measures: the heap is everybody's.</summary>
[CollectionDefinition(nameof(MemoryTests), DisableParallelization = true)]
public sealed class MemoryTestsAlone;

[Collection(nameof(MemoryTests))]
public sealed class MemoryTests
{
    private const int Steps = 5000;
    private const int StepsToWarmUp = 1000;
    private const int RejoinEvery = 10;

    // A quarter of a kilobyte for each rejoin would be seen.
    private const long MostBytes = 100_000;

    [Fact]
    public async Task Run_WithAWorkerRejoiningAgainAndAgain_NeedsNoMoreMemory()
    {
        using TinyRun tiny = new(train: Steps * 8, test: 20);
        RunOptions options = new() { Workers = 0, MinWorkers = 2, BatchSize = 8, Shards = 8, Epochs = 1, TestBlockSamples = 10 };
        RunDefinition run = new(options, tiny.Dataset, tiny.Model);
        RunInbox inbox = new();
        int id = 2;
        long before = 0, after = 0;
        FakeWorker stays = new(1, inbox) { KeepsOrders = false };
        stays.OnStep = order =>
        {
            if (order.Step == StepsToWarmUp)
                before = GC.GetTotalMemory(forceFullCollection: true);
            if (order.Step == Steps - 1)
                after = GC.GetTotalMemory(forceFullCollection: true);
            return true;
        };
        inbox.Post(new WorkerCalled(stays));
        inbox.Post(new WorkerCalled(Comer(id)));
        StepLoop loop = new(run, inbox, new SilentObserver(), new RunMonitor(run.Options, new RunJournal(TimeProvider.System)), NullLogger.Instance, new ManualTime(), null, null);
        await loop.RunAsync(TestContext.Current.CancellationToken);
        Assert.True(id > (Steps / RejoinEvery) - 10, $"only {id} have joined");
        Assert.InRange(after - before, long.MinValue, MostBytes);

        FakeWorker Comer(int number)
        {
            FakeWorker comer = new(number, inbox) { KeepsOrders = false };
            comer.OnStep = order =>
            {
                if (order.Step % RejoinEvery == 0 && number == id)
                {
                    inbox.Post(new WorkerLeft(number, "the connection broke"));
                    inbox.Post(new WorkerCalled(Comer(++id)));
                    return false;
                }

                return true;
            };
            return comer;
        }
    }
}

/// <summary>Has nothing to show.</summary>
internal sealed class SilentObserver : IRunObserver
{
    public void EpochStarted(int epoch, int epochs, RunProgress progress)
    {
    }

    public void EpochEnded(EpochReport report)
    {
    }
}
