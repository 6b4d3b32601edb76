using System.Runtime.InteropServices;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Protos;

namespace Distributed.Tests;

/// <summary>All of <see cref="StepLoopTests"/>, and what can only happen between two chunks.</summary>
public sealed class StepLoopOfChunksTests() : StepLoopTests(takesChunks: true)
{
    // 234 values, 64 at a time.
    private const int Chunks = 4;

    [Fact]
    public async Task Weights_OfEveryStepButAnEpochsFirst_AreSentBeforeTheStepIsOrdered()
    {
        FakeWorker[] workers = [];
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(3, fakes => workers = fakes);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        // Of the four steps of an epoch the last is one worker's alone.
        Assert.Equal([6, 4, 4], workers.Select(static worker => worker.StepsAhead));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public async Task Worker_LostBetweenTwoChunks_HasItsShardsComputedElsewhere(int chunks)
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(3, workers => workers[1].OnChunk = chunk =>
        {
            if (chunk.Order is not { Epoch: 0, Step: 1 } || chunk.Chunk < chunks)
                return [chunk];
            if (chunk.Chunk == chunks)
                _inbox.Post(new WorkerLeft(2, "it was shot"));
            return [];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Equal(1, _journal.Count(JournalKind.Evicted));
    }

    /// <summary>
    /// An epoch's last step is one worker's alone. The others have its weights all the same, in memory that its update has begun to
    /// change when that worker is lost.
    /// </summary>
    [Fact]
    public async Task Worker_IdleInAStepUntilAnotherIsLost_ComputesWithTheStepsOwnWeights()
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(3, workers => workers[0].OnChunk = chunk =>
        {
            if (chunk.Order is not { Epoch: 0, Step: 3 } || chunk.Chunk < 2)
                return [chunk];
            if (chunk.Chunk == 2)
                _inbox.Post(new WorkerLeft(1, "it was shot"));
            return [];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Partial_BadOnlyInItsLastChunk_IsTakenBackAndComputedElsewhere(bool isWorkerAlone)
    {
        RunResult expected = await RunWholeAsync();
        int bad = 0;
        RunResult actual = await RunAsync(isWorkerAlone ? 1 : 2, workers => workers[0].OnChunk = chunk =>
        {
            // Other values in every chunk, so that it would show if one of them stayed; the last says that they are bad.
            bool isBad = chunk.Order is { Epoch: 0, Step: 1 } && Covers(chunk.Node, 0) && (!isWorkerAlone || bad == 0);
            if (!isBad)
                return [chunk];
            float[] wrong = [.. Enumerable.Repeat(123f, chunk.Gradient.Length / sizeof(float))];
            PartialArrived changed = chunk with { Gradient = MemoryMarshal.AsBytes(wrong.AsSpan()).ToArray() };
            if (IsLast(chunk))
            {
                bad++;
                changed = changed with { LossSum = double.NaN };
            }

            return [changed];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.True(_journal.Count(JournalKind.RefusedPartial) > 0);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(99)]
    [InlineData(int.MaxValue)]
    [InlineData(-5)]
    public async Task Chunk_OutOfOrder_IsRefusedByNameAndTheWorkerGivenUp(int instead)
    {
        RunResult expected = await RunWholeAsync();
        FakeWorker? bad = null;
        RunResult actual = await RunAsync(2, workers =>
        {
            bad = workers[0];
            bad.OnChunk = chunk => [chunk.Chunk == 1 ? chunk with { Chunk = instead } : chunk];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains("refused", bad!.CloseReason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(uint.MaxValue)]
    public void Chunk_InARunWithWholeVectors_IsAFault(uint chunk)
    {
        using TinyRun tiny = new(train: 32, test: 8);
        RunDefinition run = new(new RunOptions { BatchSize = 32, Shards = 8, ChunkBytes = 0 }, tiny.Dataset, tiny.Model);
        PartialArrived arrived = new(1);
        WorkerEvents.Fill(arrived, new Protos.Partial { Id = new StepId(), Chunk = chunk }, default);
        Assert.Contains("which this run has not", new PartialReview(run).FindFault(arrived)!.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Chunk_MissingAtTheStart_IsNamed()
    {
        RunResult expected = await RunWholeAsync();
        FakeWorker? bad = null;
        RunResult actual = await RunAsync(2, workers =>
        {
            bad = workers[0];
            bad.OnChunk = static chunk => chunk.Chunk == 0 ? [] : [chunk];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains("chunk 2 after 0 chunks", bad!.CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Partial_ComingWholeAfterItsFirstChunk_IsRefused()
    {
        RunResult expected = await RunWholeAsync();
        FakeWorker? bad = null;
        PartialArrived? whole = null;
        RunResult actual = await RunAsync(2, workers =>
        {
            bad = workers[0];
            bad.OnAnswer = answer => [whole = answer];
            bad.OnChunk = chunk => chunk.Chunk == 0 ? [chunk, whole!] : [];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains("disorder", bad!.CloseReason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Run_WithWorkersOfBothKinds_GivesTheSameBits()
    {
        RunResult expected = await RunWholeAsync();
        RunResult actual = await RunAsync(3, static workers => workers[1].TakesChunks = false);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
    }

    private static bool IsLast(PartialArrived chunk) => chunk.Chunk == Chunks - 1;
}
