using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>What the coordinator's step leaves for the garbage collector, counted by the runtime over all threads.</summary>
[Collection(nameof(MemoryTests))]
public sealed class AllocationTests
{
    private const int Steps = 6000;
    private const int StepsToWarmUp = 1000;

    // Thrice the curve's points are halved, which takes a new array; and the runtime has work of its own.
    private const int MostExceptions = 20;

    // Twenty times a second, for whoever watches: what belongs together is one immutable picture.
    private const int MostBytesOfPicture = 1000;

    [Theory]
    [InlineData(WirePrecision.Float32)]
    [InlineData(WirePrecision.Bf16)]
    public async Task Step_OverSharedMemory_AllocatesNothing(WirePrecision wire)
    {
        Assert.SkipUnless(SharedSegment.Folder() is not null, "this system has no shared memory");
        using TinyRun tiny = new(train: Steps * 8, test: 20);
        RunOptions options = new()
        {
            Workers = 0,
            MinWorkers = 1,
            BatchSize = 8,
            Shards = 8,
            Epochs = 1,
            TestBlockSamples = 10,
            Wire = wire,
            HeartbeatInterval = TimeSpan.FromMinutes(1),
            HeartbeatTimeout = TimeSpan.FromMinutes(3),
        };
        RunDefinition run = new(options, tiny.Dataset, tiny.Model);
        using SharedExchange exchange = SharedExchange.Open(ExchangeChoice.Shm)!;
        VectorBuffer weights = exchange.TryCreateWeights(run.Model.ParameterCount)!;
        RunInbox inbox = new(exchange.Bell);
        DefaultHttpContext call = new();
        MessageLimit.Impose(call);
        using GrpcWorkerLink link = new(new Member(1, "near", 1, "none", "here"), MessageLimit.Of(call), exchange, TimeProvider.System);
        using CancellationTokenSource ended = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Stream stream = new();
        Task writing = link.WriteToAsync(stream, TimeSpan.FromMinutes(10), ended.Token);
        inbox.Post(new WorkerCalled(link));
        RunMonitor monitor = new(run.Options, new RunJournal(TimeProvider.System));
        (long Bytes, RunPicture Picture)[] looks = new (long, RunPicture)[Steps - StepsToWarmUp];
        Task serving = Task.Run(
            async () =>
            {
                Welcome welcome = await stream.Welcome.Task.WaitAsync(TimeSpan.FromMinutes(1), ended.Token);
                using SharedMailbox mailbox = SharedMailbox.Open(SharedSegment.Folder()!, welcome.SharedMemory.Mailbox, run.Model.ParameterCount, (int)welcome.SharedMemory.Slots);
                inbox.Post(new WorkerReady(1, SharesMemory: true));
                Serve(mailbox, run, exchange.Bell, monitor, looks);
            },
            ended.Token);
        StepLoop loop = new(
            run, inbox, new SilentObserver(), monitor, NullLogger.Instance, new HurriedTime(), null, null, weights: weights);
        await loop.RunAsync(ended.Token);
        await serving;
        await ended.CancelAsync();
        await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        (long Bytes, bool IsShown)[] steps = [.. looks.Zip(looks.Skip(1), static (from, to) => (to.Bytes - from.Bytes, to.Picture != (object)from.Picture))];
        long[] exceptions = [.. steps.Where(static step => !step.IsShown && step.Bytes > 0).Select(static step => step.Bytes)];
        Assert.True(exceptions.Length <= MostExceptions, $"{exceptions.Length} of {steps.Length} steps allocated {string.Join(", ", exceptions.Take(MostExceptions))} ... bytes");
        long[] pictures = [.. steps.Where(static step => step.IsShown).Select(static step => step.Bytes).Order()];
        if (pictures.Length > 0)
            Assert.InRange(pictures[pictures.Length / 2], 0, MostBytesOfPicture);
        TestContext.Current.TestOutputHelper?.WriteLine($"{exceptions.Length} exceptions: {string.Join(", ", exceptions)}; {pictures.Length} pictures: {string.Join(", ", pictures)}");
    }

    /// <summary>A worker that computes nothing, and allocates nothing either.</summary>
    private static void Serve(SharedMailbox mailbox, RunDefinition run, Bell coordinator, RunMonitor monitor, (long Bytes, RunPicture Picture)[] looks)
    {
        byte[] received = new byte[1024], sent = new byte[1024];
        Step step = new();
        WorkerMessage answer = new() { Partial = new Protos.Partial() };
        while (true)
        {
            int seen = mailbox.WorkerBell.Look();
            if (!mailbox.ToWorker.TryRead(ref received, out int length))
            {
                mailbox.WorkerBell.WaitPast(seen, TimeSpan.FromSeconds(1));
                continue;
            }

            ReadOnlySpan<byte> message = received.AsSpan(0, length);
            if (!Recycled.TryRead(message, step))
            {
                CoordinatorMessage other = CoordinatorMessage.Parser.ParseFrom(message);
                if (other.Evaluate is not { } evaluate)
                    return;
                foreach (uint block in evaluate.Blocks)
                {
                    WorkerMessage score = new() { BlockResult = new BlockResult { Id = evaluate.Id, Block = block, LossSum = 1, Predictions = Google.Protobuf.ByteString.CopyFrom(new byte[10]) } };
                    Assert.True(mailbox.ToCoordinator.TryWrite(Google.Protobuf.MessageExtensions.ToByteArray(score)));
                }

                coordinator.Ring();
                continue;
            }

            int since = (int)step.Id.Step - StepsToWarmUp;
            // What the step before left: a new picture is there before the next order.
            if (since >= 0)
                looks[since] = (GC.GetTotalAllocatedBytes(precise: true), monitor.Picture);
            for (int i = 0; i < step.Nodes.Count; i++)
            {
                (int first, int end) = run.Tree.Range(TreeNode.FromCode(step.Nodes[i]));
                uint samples = 0;
                for (int shard = first; shard < end; shard++)
                    samples += (uint)run.Plan.MicrobatchSamples(shard, (int)step.Id.Step);
                Protos.Partial partial = answer.Partial;
                (partial.Id, partial.Node, partial.Samples, partial.LossSum, partial.ComputeMicroseconds, partial.Slot) = (step.Id, step.Nodes[i], samples, 1, 5, 1);
                mailbox.Lend(0);
                int size = answer.CalculateSize();
                Google.Protobuf.MessageExtensions.WriteTo(answer, sent.AsSpan(0, size));
                Assert.True(mailbox.ToCoordinator.TryWrite(sent.AsSpan(0, size)));
            }

            coordinator.Ring();
        }
    }

    /// <summary>A hundred times faster, so that steps last long enough for whatever is measured or done by their time.</summary>
    private sealed class HurriedTime : TimeProvider
    {
        public override long GetTimestamp() => base.GetTimestamp() * 100;
    }

    private sealed class Stream : IServerStreamWriter<Frame<CoordinatorMessage>>
    {
        public TaskCompletionSource<Welcome> Welcome { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public WriteOptions? WriteOptions { get; set; }

        public Task WriteAsync(Frame<CoordinatorMessage> message)
        {
            if (message.Message.Welcome is { } welcome)
                Welcome.TrySetResult(welcome);
            return Task.CompletedTask;
        }

        public Task WriteAsync(Frame<CoordinatorMessage> message, CancellationToken cancellationToken) => WriteAsync(message);
    }
}
