using System.Threading.Channels;
using Distributed.Protos;
using Distributed.Worker.Session;
using Grpc.Core;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>Alone in the process while it measures memory.</summary>
[CollectionDefinition(nameof(SessionTests), DisableParallelization = true)]
public sealed class SessionTestsAlone;

/// <summary>The worker's end of the wire, with a coordinator that says what the test wants.</summary>
[Collection(nameof(SessionTests))]
public sealed class SessionTests
{
    private readonly FakeCoordinator _coordinator = new();

    [Fact]
    public async Task Worker_ThatIsRefused_FailsWithTheReason()
    {
        _coordinator.Say(new CoordinatorMessage { Refusal = new Refusal { Reason = "it speaks version 1 of the protocol" } });
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(TestContext.Current.CancellationToken));
        Assert.Contains("it speaks version 1 of the protocol", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_ThatCannotRunTheModel_SaysWhyOnBothSides()
    {
        Welcome welcome = Welcome();
        welcome.ModelJson = """{"layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 7, "activation": "softmax"}]}""";
        _coordinator.Say(new CoordinatorMessage { Welcome = welcome });
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => RunAsync(TestContext.Current.CancellationToken));
        Assert.Contains("units", failure.Message, StringComparison.Ordinal);
        Assert.Contains("units", (await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Goodbye)).Goodbye.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_WelcomedAndReady_ServesUntilItIsLetGo()
    {
        _coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
        Task<SessionEnd> running = RunAsync(TestContext.Current.CancellationToken);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Ready);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Heartbeat);
        _coordinator.Say(new CoordinatorMessage { Drain = new Drain { Reason = "the run has ended" } });
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Goodbye);
        _coordinator.HangUp();
        Assert.Equal(SessionEnd.Drained, await running);
    }

    [Fact]
    public async Task Worker_LetGoWhileItCompiles_IsDoneThoughNobodyListensAnyMore()
    {
        _coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
        _coordinator.Say(new CoordinatorMessage { Drain = new Drain { Reason = "the run has ended" } });
        _coordinator.HearsOnlyHello = true;
        Assert.Equal(SessionEnd.Drained, await RunAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Worker_WhoseCoordinatorGoesWhileItCompiles_HasLostIt()
    {
        _coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
        _coordinator.HearsOnlyHello = true;
        _coordinator.HangUp();
        await Assert.ThrowsAsync<RpcException>(() => RunAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Worker_ToldToStop_FinishesItsOrderAndSaysGoodbye()
    {
        using CancellationTokenSource stop = new();
        _coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
        Task<SessionEnd> running = RunAsync(stop.Token);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Ready);
        // After that, heartbeats come only once it is ready to be told.
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Heartbeat);
        await stop.CancelAsync();
        Assert.Contains("told to stop", (await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Goodbye)).Goodbye.Reason, StringComparison.Ordinal);
        _coordinator.HangUp();
        Assert.Equal(SessionEnd.Stopped, await running);
    }

    [Theory]
    [InlineData(true, "bf16")]
    [InlineData(false, "float32")]
    public async Task Worker_WithWeightsInAnotherPrecisionThanTheRuns_SaysSo(bool isRunRounded, string named)
    {
        Welcome welcome = Welcome();
        welcome.Bfloat16 = isRunRounded;
        _coordinator.Say(new CoordinatorMessage { Welcome = welcome });
        Task<SessionEnd> running = RunAsync(TestContext.Current.CancellationToken);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Ready);
        for (uint shard = 0; shard < welcome.Shards; shard++)
            _coordinator.Say(new CoordinatorMessage { ShardData = new ShardData { Shard = shard, Images = TrainingWire.Wrap(new byte[32 * 36]), Labels = TrainingWire.Wrap(new byte[32]) } });
        byte[] weights = new byte[((36 * 4) + 4) * sizeof(float)];
        Step step = new() { Id = new StepId { Run = 1, MembershipVersion = 1 }, Nodes = { new Distributed.Reduction.TreeNode(1, 0).Code } };
        _coordinator.Say(new CoordinatorMessage { Step = step }, weights, isRunRounded);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Partial);
        _coordinator.Say(new CoordinatorMessage { Step = step.Clone() }, weights, !isRunRounded);
        string reason = (await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Goodbye)).Goodbye.Reason;
        Assert.Contains($"weights have not come as {named}", reason, StringComparison.Ordinal);
        _coordinator.HangUp();
        Assert.Contains(named, (await Assert.ThrowsAsync<RunFailedException>(() => running)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Coordinator_ThatHangsUp_IsLost()
    {
        _coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
        Task<SessionEnd> running = RunAsync(TestContext.Current.CancellationToken);
        await _coordinator.HearAsync(WorkerMessage.ContentOneofCase.Ready);
        _coordinator.HangUp();
        Assert.Equal(SessionEnd.Lost, await running);
    }

    [Fact]
    public async Task Coordinator_ThatFallsSilent_IsLost()
    {
        Welcome welcome = Welcome();
        (welcome.HeartbeatIntervalMs, welcome.HeartbeatTimeoutMs) = (10, 50);
        _coordinator.Say(new CoordinatorMessage { Welcome = welcome });
        Assert.Equal(SessionEnd.Lost, await RunAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task Worker_JoiningAgainAndAgain_NeedsNoMoreMemory()
    {
        const int ToWarmUp = 20, Times = 120;
        long before = 0;
        for (int time = 0; time < Times; time++)
        {
            if (time == ToWarmUp)
                before = GC.GetTotalMemory(forceFullCollection: true);
            FakeCoordinator coordinator = new();
            coordinator.Say(new CoordinatorMessage { Welcome = Welcome() });
            Task<SessionEnd> running = RunAsync(coordinator, TestContext.Current.CancellationToken);
            await coordinator.HearAsync(WorkerMessage.ContentOneofCase.Ready);
            coordinator.HangUp();
            Assert.Equal(SessionEnd.Lost, await running);
        }

        // Less than a kilobyte each time.
        Assert.InRange(GC.GetTotalMemory(forceFullCollection: true) - before, long.MinValue, 100_000);
    }

    [Fact]
    public void Backoff_WaitsLongerEachTimeButNeverTooLong()
    {
        Backoff backoff = new(new Random(1));
        TimeSpan[] waits = [.. Enumerable.Range(0, 50).Select(_ => backoff.Next())];
        Assert.InRange(waits[0], Backoff.First * 0.75, Backoff.First * 1.25);
        Assert.All(waits, static wait => Assert.InRange(wait, Backoff.First * 0.75, Backoff.Longest * 1.25));
        Assert.All(waits[20..], static wait => Assert.True(wait >= Backoff.Longest * 0.75));
        Assert.True(waits[20..].Distinct().Count() > 10);
        backoff.Reset();
        Assert.InRange(backoff.Next(), Backoff.First * 0.75, Backoff.First * 1.25);
    }

    private Task<SessionEnd> RunAsync(CancellationToken stop) => RunAsync(_coordinator, stop);

    private static Task<SessionEnd> RunAsync(FakeCoordinator coordinator, CancellationToken stop)
    {
        WorkerOptions options = new() { Coordinator = new Uri("http://127.0.0.1:1"), Threads = 1, Name = "tested" };
        return new CoordinatorSession(coordinator, options, TimeProvider.System, NullLogger.Instance).RunAsync(stop)
            .WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
    }

    internal static Welcome Welcome() => new()
    {
        WorkerId = 1,
        RunId = "run",
        MembershipVersion = 1,
        ModelJson = """{"layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 4, "activation": "softmax"}]}""",
        ImageHeight = 6,
        ImageWidth = 6,
        ImageChannels = 1,
        Classes = 4,
        TrainingSamples = 64,
        BatchSize = 8,
        Shards = 2,
        Seed = 1,
        TestSamples = 10,
        TestBlockSamples = 5,
        HeartbeatIntervalMs = 20,
        HeartbeatTimeoutMs = 60_000,
    };

    private sealed class FakeCoordinator : CallInvoker
    {
        private readonly Channel<Frame<CoordinatorMessage>> _said = Channel.CreateUnbounded<Frame<CoordinatorMessage>>();
        private readonly Channel<WorkerMessage> _heard = Channel.CreateUnbounded<WorkerMessage>();

        public void Say(CoordinatorMessage message, ReadOnlyMemory<byte> vector = default, bool isBfloat16 = false) =>
            _said.Writer.TryWrite(new Frame<CoordinatorMessage>(message, vector, isBfloat16));

        /// <summary>Whatever else is sent fails, as when the other end is gone.</summary>
        public bool HearsOnlyHello { get; set; }

        public void HangUp() => _said.Writer.TryComplete();

        /// <summary>The next message of a kind; others are passed over.</summary>
        public async Task<WorkerMessage> HearAsync(WorkerMessage.ContentOneofCase kind)
        {
            using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
            deadline.CancelAfter(TimeSpan.FromMinutes(1));
            while (true)
            {
                WorkerMessage message = await _heard.Reader.ReadAsync(deadline.Token);
                if (message.ContentCase == kind)
                    return message;
            }
        }

        public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options) => new(
            (IClientStreamWriter<TRequest>)(object)new Requests(this, _heard.Writer),
            (IAsyncStreamReader<TResponse>)(object)new Responses(_said.Reader),
            Task.FromResult(new Metadata()),
            static () => Status.DefaultSuccess,
            static () => [],
            static () => { });

        public override TResponse BlockingUnaryCall<TRequest, TResponse>(Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) =>
            throw new NotSupportedException();

        public override AsyncUnaryCall<TResponse> AsyncUnaryCall<TRequest, TResponse>(Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) =>
            throw new NotSupportedException();

        public override AsyncServerStreamingCall<TResponse> AsyncServerStreamingCall<TRequest, TResponse>(
            Method<TRequest, TResponse> method, string? host, CallOptions options, TRequest request) => throw new NotSupportedException();

        public override AsyncClientStreamingCall<TRequest, TResponse> AsyncClientStreamingCall<TRequest, TResponse>(Method<TRequest, TResponse> method, string? host, CallOptions options) =>
            throw new NotSupportedException();
    }

    private sealed class Requests(FakeCoordinator coordinator, ChannelWriter<WorkerMessage> messages) : IClientStreamWriter<Frame<WorkerMessage>>
    {
        public WriteOptions? WriteOptions { get; set; }

        public Task WriteAsync(Frame<WorkerMessage> message)
        {
            // It is used again.
            messages.TryWrite(message.Message.Clone());
            return coordinator.HearsOnlyHello && message.Message.Hello is null
                ? Task.FromException(new RpcException(new Status(StatusCode.Unavailable, "the connection broke")))
                : Task.CompletedTask;
        }

        public Task WriteAsync(Frame<WorkerMessage> message, CancellationToken cancellationToken) => WriteAsync(message);

        public Task CompleteAsync() => Task.CompletedTask;
    }

    private sealed class Responses(ChannelReader<Frame<CoordinatorMessage>> messages) : IAsyncStreamReader<Frame<CoordinatorMessage>>
    {
        public Frame<CoordinatorMessage> Current { get; private set; } = Frame.Of(new CoordinatorMessage());

        public async Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            if (!await messages.WaitToReadAsync(cancellationToken))
                return false;
            Current = await messages.ReadAsync(cancellationToken);
            return true;
        }
    }
}
