using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Grpc.Core;
using Grpc.Net.Client;

namespace Distributed.Tests;

/// <summary>The coordinator's end of the wire, called by a client that says what the test wants.</summary>
public sealed class HandshakeTests
{
    private static readonly RunOptions s_options = new() { Listen = "127.0.0.1:0" };

    private readonly RunInbox _inbox = new();
    private readonly RunJournal _journal = new(TimeProvider.System);
    private readonly ExchangeSeam _seam = new(null);

    [Fact]
    public async Task Hello_OfAnotherProtocolVersion_IsRefusedWithTheReason()
    {
        string reason = await RefuseAsync(new Hello { ProtocolVersion = TrainingWire.ProtocolVersion + 1, Name = "old", Threads = 1, InstructionSet = "none" });
        Assert.Contains($"version {TrainingWire.ProtocolVersion + 1}", reason, StringComparison.Ordinal);
        JournalEntry refused = Assert.Single(_journal.Latest());
        Assert.Equal((JournalKind.RefusedWorker, "old", reason), (refused.Kind, refused.Worker, refused.Text));
        Assert.False(_inbox.TryTake(out _));
    }

    [Fact]
    public async Task Hello_OfAnotherArithmetic_IsRefusedWithTheReason() => Assert.Contains(
        "gives other bits",
        await RefuseAsync(new Hello { ProtocolVersion = TrainingWire.ProtocolVersion, Arithmetic = Distributed.Engine.Arithmetic.Version + 1, Name = "old", Threads = 1, InstructionSet = "none" }),
        StringComparison.Ordinal);

    [Fact]
    public async Task Hello_ThatIsNotInOrder_IsRefused() =>
        Assert.NotEmpty(await RefuseAsync(new Hello { ProtocolVersion = TrainingWire.ProtocolVersion, Arithmetic = Distributed.Engine.Arithmetic.Version, Name = "a", Threads = 0, InstructionSet = "none" }));

    [Fact]
    public async Task Candidate_ThatSaysGoodbye_LeavesWithItsReason()
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call =
            channel.Join();
        await call.RequestStream.WriteAsync(
            Frame.Of(new WorkerMessage { Hello = Hello() }),
            TestContext.Current.CancellationToken);
        WorkerCalled called = Assert.IsType<WorkerCalled>(_inbox.Take(TestContext.Current.CancellationToken));
        Assert.Equal("new", called.Link.Member.Name);
        await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Ready = new Ready() }), TestContext.Current.CancellationToken);
        Assert.Equal(called.Link.Member.Id, Assert.IsType<WorkerReady>(_inbox.Take(TestContext.Current.CancellationToken)).Worker);
        await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Goodbye = new Goodbye { Reason = "tired" } }), TestContext.Current.CancellationToken);
        WorkerLeft left = Assert.IsType<WorkerLeft>(_inbox.Take(TestContext.Current.CancellationToken));
        Assert.Equal(called.Link.Member.Id, left.Worker);
        Assert.Contains("tired", left.Reason, StringComparison.Ordinal);
    }

    /// <summary>Messages that have no vector.</summary>
    public static TheoryData<string, WorkerMessage> WithoutVector { get; } = new()
    {
        { "heartbeat", new WorkerMessage { Heartbeat = new Heartbeat() } },
        { "ready", new WorkerMessage { Ready = new Ready() } },
        { "goodbye", new WorkerMessage { Goodbye = new Goodbye() } },
        { "score", new WorkerMessage { BlockResult = new BlockResult { Id = new StepId() } } },
        { "partial of no step", new WorkerMessage { Partial = new Protos.Partial() } },
        { "nothing", new WorkerMessage() },
    };

    [Theory]
    [MemberData(nameof(WithoutVector), DisableDiscoveryEnumeration = true)]
    public async Task Message_WithAVectorThatIsNotItsOwn_EndsTheCallAndGivesTheMemoryBack(string kind, WorkerMessage message)
    {
        byte[] vector = [1, 2, 3, 4, 5, 6, 7, 8];
        _seam.Vectors.Keep(vector.Length / sizeof(float), most: 1);
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = channel.Join();
        await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Hello = Hello() }), TestContext.Current.CancellationToken);
        Assert.IsType<WorkerCalled>(_inbox.Take(TestContext.Current.CancellationToken));
        await call.RequestStream.WriteAsync(new Frame<WorkerMessage>(message, vector), TestContext.Current.CancellationToken);
        WorkerLeft left = Assert.IsType<WorkerLeft>(_inbox.Take(TestContext.Current.CancellationToken));
        Assert.True(left.Reason.Contains("not in order", StringComparison.Ordinal), $"{kind}: {left.Reason}");
        // New memory would be zeros.
        Assert.Equal(vector, _seam.Vectors.Rent(vector.Length).Memory.ToArray());
    }

    [Fact]
    public async Task Hello_WithAVector_IsNoneAndGivesTheMemoryBack()
    {
        byte[] vector = [1, 2, 3, 4, 5, 6, 7, 8];
        _seam.Vectors.Keep(vector.Length / sizeof(float), most: 1);
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = channel.Join();
        await call.RequestStream.WriteAsync(new Frame<WorkerMessage>(new WorkerMessage { Hello = Hello() }, vector), TestContext.Current.CancellationToken);
        Assert.False(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.Equal(0, _inbox.Count);
        Assert.Equal(vector, _seam.Vectors.Rent(vector.Length).Memory.ToArray());
    }

    private static Hello Hello() => new()
    {
        ProtocolVersion = TrainingWire.ProtocolVersion,
        Arithmetic = Distributed.Engine.Arithmetic.Version,
        Name = "new",
        Threads = 1,
        InstructionSet = "none",
    };

    private async Task<string> RefuseAsync(Hello hello)
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call =
            channel.Join();
        await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Hello = hello }), TestContext.Current.CancellationToken);
        Assert.True(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        return call.ResponseStream.Current.Message.Refusal.Reason;
    }

    private Task<CoordinatorServer> StartAsync() =>
        CoordinatorServer.StartAsync(s_options, Admission.Open(s_options), _seam, _inbox, _journal, 1 << 20, TestContext.Current.CancellationToken);
}
