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
/// here it is the libraries that allocate, and the test bounds it.
/// </summary>
/// <remarks>
/// What is left, about 5 KB, is mostly the libraries': for each write to the socket the list of its buffers (IOVector[], GCHandle[]
/// of System.Net.Sockets), and the state of each call that has to wait (Kestrel's flushes, gRPC's reading and writing of a message).
/// Of ours are the messages themselves, a sixth of it: CoordinatorMessage, Step, WorkerMessage, Partial, StepId, Frame, and the event.
/// </remarks>
[Collection(nameof(MemoryTests))]
public sealed class GrpcAllocationTests
{
    private const int Steps = 2500;
    private const int StepsToWarmUp = 500;

    // There is more of it where more has to wait; a copy of a vector would be six times as much.
    private const int MostBytes = 64 << 10;

    [Fact]
    public async Task Step_OverGrpc_AllocatesLittle()
    {
        using WideRun wide = new(train: Steps * 8, test: 20);
        Dataset dataset = wide.ReadDataset();
        RunOptions options = new() { Workers = 0, MinWorkers = 1, BatchSize = 8, Shards = 8, Epochs = 1, TestBlockSamples = 10, Listen = "127.0.0.1:0", Exchange = ExchangeChoice.Grpc };
        RunDefinition run = new(options, dataset, WideRun.Resolve(dataset));
        RunInbox inbox = new();
        RunJournal journal = new(TimeProvider.System);
        RunMonitor monitor = new(options, journal);
        ExchangeSeam exchange = new(null);
        exchange.Vectors.Keep(run.Model.ParameterCount, 2 * options.Shards);
        await using CoordinatorServer server = await CoordinatorServer.StartAsync(
            options, Admission.Open(options), exchange, inbox, journal, 1 << 20, TestContext.Current.CancellationToken);
        int steps = 0;
        long before = 0, after = 0;
        monitor.OnStep = _ =>
        {
            steps++;
            if (steps == StepsToWarmUp)
                before = GC.GetTotalAllocatedBytes(precise: true);
            if (steps == Steps)
                after = GC.GetTotalAllocatedBytes(precise: true);
        };
        await using ProgramRun worker = ProgramRun.Worker("--coordinator", $"{server.LocalAddress}", "--threads", "1", "--exchange", "grpc");
        StepLoop loop = new(run, inbox, new SilentObserver(), monitor, NullLogger.Instance, TimeProvider.System, null, null);
        await loop.RunAsync(TestContext.Current.CancellationToken);
        await worker.SucceedAsync();
        long bytes = (after - before) / (Steps - StepsToWarmUp);
        TestContext.Current.TestOutputHelper?.WriteLine($"{bytes} bytes a step");
        Assert.InRange(bytes, 1, MostBytes);
    }
}
