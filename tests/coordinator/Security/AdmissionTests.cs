using Distributed.CommandLine;
using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Distributed.Tests.Security;

/// <summary>Who gets in, and how much a caller may send before and after.</summary>
public sealed class AdmissionTests : IDisposable
{
    private const string Secret = "correct horse battery staple";
    private const int MaxMessage = 1 << 20;

    private readonly RunInbox _inbox = new();
    private readonly RunJournal _journal = new(TimeProvider.System);
    private readonly string _tokenFile = Path.GetTempFileName();

    public AdmissionTests() => File.WriteAllText(_tokenFile, $"  {Secret}\n");

    private RunOptions Guarded => new() { Listen = "127.0.0.1:0", TokenFile = _tokenFile };

    [Theory]
    [InlineData(Secret, null)]
    [InlineData("", "it has no join token; give it --token-file or DISTRIBUTED_TOKEN")]
    [InlineData("correct horse battery stapl", "its join token is wrong")]
    [InlineData("correct horse battery staples", "its join token is wrong")]
    [InlineData("\u0000", "its join token is wrong")]
    public void Token_Shown_IsJudged(string shown, string? expected) => Assert.Equal(expected, Admission.Open(Guarded).Refuse(shown, isEncrypted: false, null));

    [Fact]
    public void Token_OfLocalWorkers_IsNewEachTimeAndLetsThemIn()
    {
        Admission first = Admission.Open(Guarded), second = Admission.Open(Guarded);
        Assert.Null(first.Refuse(first.LocalToken.Reveal(), isEncrypted: false, null));
        Assert.NotNull(second.Refuse(first.LocalToken.Reveal(), isEncrypted: false, null));
    }

    [Fact]
    public void Port_ThatNobodyAskedFor_IsForLocalWorkersAlone()
    {
        Admission admission = Admission.Open(new RunOptions());
        Assert.NotNull(admission.Refuse("", isEncrypted: false, null));
        Assert.Null(admission.Refuse(admission.LocalToken.Reveal(), isEncrypted: false, null));
        Assert.Null(Admission.Open(new RunOptions { Listen = "127.0.0.1:0" }).Refuse("", isEncrypted: false, null));
    }

    [Theory]
    [InlineData("0.0.0.0:5000")]
    [InlineData("*:5000")]
    [InlineData("[::]:0")]
    public void Port_BeyondLoopbackWithoutToken_IsRefusedUnlessInsecure(string listen)
    {
        foreach (RunOptions open in (RunOptions[])[new() { Workers = 0, Listen = listen }, new() { Status = new StatusOptions { Address = listen } }])
        {
            Assert.Contains("--insecure", Assert.Throws<ConfigurationException>(() => Admission.Open(open)).Message, StringComparison.Ordinal);
            _ = Admission.Open(open with { Insecure = true });
            _ = Admission.Open(open with { TokenFile = _tokenFile });
        }
    }

    [Theory]
    [InlineData("")]
    [InlineData("two\nlines")]
    public void TokenFile_WithoutAToken_IsRefusedWithoutShowingIt(string content)
    {
        File.WriteAllText(_tokenFile, content);
        string message = Assert.Throws<ConfigurationException>(() => Admission.Open(Guarded)).Message;
        Assert.StartsWith($"{JoinToken.Option} {_tokenFile}", message, StringComparison.Ordinal);
        Assert.DoesNotContain("two", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_WithAWrongToken_HearsWhyAndLeavesATrace()
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = await CallAsync(channel, "wrong");
        Assert.True(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.Equal("its join token is wrong", call.ResponseStream.Current.Message.Refusal.Reason);
        Assert.False(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        JournalEntry entry = Assert.Single(_journal.Latest());
        Assert.Equal((JournalKind.RefusedWorker, "caller"), (entry.Kind, entry.Worker));
        Assert.Equal(0, _inbox.Count);
    }

    [Fact]
    public async Task Name_WithControlCharacters_DoesNotReachTheJournal()
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = await CallAsync(channel, "wrong", "a\nforged line");
        Assert.True(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        Assert.DoesNotContain("forged", Assert.Single(_journal.Latest()).Worker, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Hello_OfManyBytes_EndsTheCall()
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        try
        {
            using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = await CallAsync(channel, Secret, new string('x', 100_000));
            Assert.False(await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken));
        }
        catch (RpcException)
        {
            // Ended while the message was still being written.
        }

        Assert.Equal(0, _inbox.Count);
    }

    [Fact]
    public async Task Message_BeforeTheWelcome_IsHeldToTheSameLimit()
    {
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = await CallAsync(channel, Secret);
        Assert.IsType<WorkerCalled>(_inbox.Take(TestContext.Current.CancellationToken));
        // The call may be cut off before all of it is written.
        await call.RequestStream.WriteAsync(Partial(100_000), TestContext.Current.CancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        WorkerLeft left = Assert.IsType<WorkerLeft>(_inbox.Take(TestContext.Current.CancellationToken));
        Assert.Contains("bytes", left.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_ThatFloods_IsHeldBackByWhatIsNotHandled()
    {
        const int Most = 8, Flood = 500;
        await using CoordinatorServer server = await StartAsync();
        using GrpcChannel channel = GrpcChannel.ForAddress(server.LocalAddress);
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call = await CallAsync(channel, Secret);
        WorkerCalled called = Assert.IsType<WorkerCalled>(_inbox.Take(TestContext.Current.CancellationToken));
        using TinyRun tiny = new(train: 16, test: 8);
        called.Link.Welcome(new RunDefinition(Guarded, tiny.Dataset, tiny.Model), 1);
        Task flooding = Task.Run(async () =>
        {
            for (int i = 0; i < Flood; i++)
                await call.RequestStream.WriteAsync(Partial(50_000), TestContext.Current.CancellationToken);
        }, TestContext.Current.CancellationToken);
        for (int i = 0; i < Flood; i++)
        {
            Assert.IsType<PartialArrived>(_inbox.Take(TestContext.Current.CancellationToken));
            Assert.InRange(_inbox.Count, 0, Most - 1);
        }

        await flooding;
    }

    public void Dispose() => File.Delete(_tokenFile);

    private static Frame<WorkerMessage> Partial(int bytes) => new(new WorkerMessage { Partial = new Protos.Partial { Id = new StepId() } }, new byte[bytes]);

    private static async Task<AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>>> CallAsync(GrpcChannel channel, string token, string name = "caller")
    {
        AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call =
            channel.Join();
        Hello hello = new() { ProtocolVersion = TrainingWire.ProtocolVersion, Arithmetic = Distributed.Engine.Arithmetic.Version, Name = name, Threads = 1, InstructionSet = "none", JoinToken = token };
        await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Hello = hello }), TestContext.Current.CancellationToken);
        return call;
    }

    private Task<CoordinatorServer> StartAsync() =>
        CoordinatorServer.StartAsync(Guarded, Admission.Open(Guarded), new ExchangeSeam(null), _inbox, _journal, MaxMessage, TestContext.Current.CancellationToken);
}
