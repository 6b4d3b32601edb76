using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Exchange;
using Distributed.Tests.Cluster;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>
/// What <see cref="AllocationTests"/> counts, of a step whose vectors of 373 KB go over gRPC, with a worker in a process of its own:
/// here it is the libraries alone that allocate, and the test bounds it.
/// </summary>
/// <remarks>
/// What is left, about 1.5 KB, and 8 with chunks, is the state of each call of theirs that has to wait: Kestrel's flushes, gRPC's reading and writing of a message.
/// </remarks>
[Collection(nameof(MemoryTests))]
public sealed class GrpcAllocationTests
{
    private const int Steps = 8000;
    private const int StepsToWarmUp = 500;

    // There is more of it where more has to wait; a copy of a vector would be six times as much.
    private const int MostBytes = 64 << 10;

    [Theory]
    [InlineData(0)]
    [InlineData(64 << 10)]
    public async Task Step_OverGrpc_AllocatesNothingOfOurs(int chunkBytes)
    {
        using WideRun wide = new(train: Steps * 8, test: 20);
        Dataset dataset = wide.ReadDataset();
        RunOptions options = new() { Workers = 0, MinWorkers = 1, BatchSize = 8, Shards = 8, Epochs = 1, TestBlockSamples = 10, Listen = "127.0.0.1:0", Exchange = ExchangeChoice.Grpc, ChunkBytes = chunkBytes, HeartbeatInterval = TimeSpan.FromSeconds(10), HeartbeatTimeout = TimeSpan.FromSeconds(60) };
        RunDefinition run = new(options, dataset, WideRun.Resolve(dataset));
        RunInbox inbox = new();
        RunJournal journal = new(TimeProvider.System);
        RunMonitor monitor = new(options, journal);
        ExchangeSeam exchange = new(null);
        exchange.Vectors.Keep(run.Model.ParameterCount, 2 * options.Shards);
        exchange.Vectors.Keep(run.Chunks, 2 * options.Shards);
        await using CoordinatorServer server = await CoordinatorServer.StartAsync(
            options, Admission.Open(options), exchange, inbox, journal, 1 << 20, TestContext.Current.CancellationToken);
        using AllocationWatch types = new();
        int steps = 0;
        long before = 0, after = 0;
        monitor.OnStep = _ =>
        {
            steps++;
            if (steps == StepsToWarmUp)
            {
                before = GC.GetTotalAllocatedBytes(precise: true);
                types.Start();
            }

            if (steps == Steps)
            {
                after = GC.GetTotalAllocatedBytes(precise: true);
                types.Stop();
            }
        };
        await using ProgramRun worker = ProgramRun.Worker("--coordinator", $"{server.LocalAddress}", "--threads", "1", "--exchange", "grpc");
        StepLoop loop = new(run, inbox, new SilentObserver(), monitor, NullLogger.Instance, TimeProvider.System, null, null);
        await loop.RunAsync(TestContext.Current.CancellationToken);
        await worker.SucceedAsync();
        long bytes = (after - before) / (Steps - StepsToWarmUp);
        TestContext.Current.TestOutputHelper?.WriteLine($"{bytes} bytes a step");
        types.AssertNothingOfSteps();
        Assert.InRange(bytes, 1, MostBytes);
    }
}
