using System.Net;
using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;
using Distributed.Engine;
using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;

namespace Distributed.Coordinator.Hosting;

/// <summary>Takes workers' calls: shakes hands, then turns what they send into events for the step loop.</summary>
internal sealed class TrainingService(
    RunInbox inbox, RunOptions options, ExchangeSeam seam, Admission admission, RefusalLog refusals, TimeProvider time)
{
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    // Of one worker: what a step can bring at once and a little more.
    private const int MostUnhandled = 8;

    private const string NotInOrder = "it sent a message that is not in order";

    private static int s_lastId;

    public async Task Join(
        IAsyncStreamReader<Frame<WorkerMessage>> requestStream, IServerStreamWriter<Frame<CoordinatorMessage>> responseStream, ServerCallContext context)
    {
        if (await ReadHelloAsync(requestStream, context.CancellationToken).ConfigureAwait(false) is not { } hello)
            return;
        HttpContext call = context.GetHttpContext();
        if ((admission.Refuse(hello.JoinToken, call.Request.IsHttps, call.Connection.ClientCertificate) ?? Refuse(hello)) is { } refusal)
        {
            refusals.Report(IsShowable(hello.Name) ? hello.Name : "(a name that cannot be shown)", context.Peer, refusal);
            await responseStream.WriteAsync(Frame.Of(new CoordinatorMessage { Refusal = new Refusal { Reason = refusal } })).ConfigureAwait(false);
            return;
        }

        Member member = new(Interlocked.Increment(ref s_lastId), hello.Name, (int)hello.Threads, hello.InstructionSet, context.Peer) { IsNear = IsNear(call.Connection.RemoteIpAddress) };
        using GrpcWorkerLink link = new(member, MessageLimit.Of(call), hello.SharedMemory ? seam.Shared : null, time);
        inbox.Post(new WorkerCalled(link));
        using CancellationTokenSource exchange = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, link.Closed);
        Task writing = link.WriteToAsync(responseStream, options.HeartbeatInterval, exchange.Token);
        string reason = "the connection broke";
        try
        {
            reason = await ReadAsync(requestStream, link, writing, exchange.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException or InvalidOperationException or RpcException)
        {
            // Whatever broke, the worker is gone; the loop below says why.
            reason = link.CloseReason ?? (exception as MessageTooLargeException)?.Message ?? reason;
        }
        finally
        {
            inbox.Post(new WorkerLeft(member.Id, reason));
            await exchange.CancelAsync().ConfigureAwait(false);
            await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task<Hello?> ReadHelloAsync(IAsyncStreamReader<Frame<WorkerMessage>> stream, CancellationToken cancellation)
    {
        using CancellationTokenSource handshake = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        handshake.CancelAfter(HandshakeTimeout);
        try
        {
            if (!await stream.MoveNext(handshake.Token).ConfigureAwait(false))
                return null;
            Hello? hello = stream.Current.Received is null ? stream.Current.Message.Hello : null;
            stream.Current.Release();
            return hello;
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            return null;
        }
    }

    private string? Refuse(Hello hello) =>
        hello.ProtocolVersion != TrainingWire.ProtocolVersion
            ? $"it speaks version {hello.ProtocolVersion} of the protocol, this coordinator version {TrainingWire.ProtocolVersion}; use the same build for both"
        : hello.Arithmetic != Arithmetic.Version
            ? $"its engine computes by version {hello.Arithmetic}, this coordinator's by version {Arithmetic.Version}, which gives other bits; use the same build for both"
        : !IsShowable(hello.Name) || hello.Threads is < 1 or > 1024 || !IsShowable(hello.InstructionSet)
            ? "its hello is not in order"
        : options.Exchange == ExchangeChoice.Shm && !hello.SharedMemory
            ? "it has no shared memory, and this coordinator takes no others (--exchange shm)"
        : null;

    private static bool IsNear(IPAddress? caller) => caller is not null && IPAddress.IsLoopback(caller);

    private static bool IsShowable(string text) => text.Length is > 0 and <= 100 && !text.Any(char.IsControl);

    /// <summary>Turns messages into events until the worker ends its stream; why it did.</summary>
    /// <param name="writing">Ends when all that is to be said to the worker is said.</param>
    private async Task<string> ReadAsync(IAsyncStreamReader<Frame<WorkerMessage>> stream, GrpcWorkerLink link, Task writing, CancellationToken cancellation)
    {
        int worker = link.Member.Id;
        bool isReady = false;
        GrpcArrivals arrivals = new(worker);
        SemaphoreSlim credits = new(MostUnhandled);
        while (await stream.MoveNext(cancellation).ConfigureAwait(false))
        {
            Frame<WorkerMessage> frame = stream.Current;
            link.Hear(frame.Size);
            // The vector of anything else is memory that nobody gives back, and beside a heartbeat it would not even take a credit.
            if (frame.Received is not null && frame.Message.Partial is not { Id: not null })
            {
                frame.Release();
                return NotInOrder;
            }

            // gRPC reads no further meanwhile, and HTTP/2 then stops the sender.
            if (frame.Message.Heartbeat is null)
                await credits.WaitAsync(cancellation).ConfigureAwait(false);
            switch (frame.Message)
            {
                case { Ready: { } ready }:
                    if (options.Exchange == ExchangeChoice.Shm && !ready.SharedMemory)
                    {
                        const string reason = "it shares no memory with this coordinator, which takes no others (--exchange shm)";
                        link.Refuse(reason);
                        await writing.ConfigureAwait(false);
                        return Decline(worker, reason);
                    }

                    isReady = true;
                    inbox.Post(new WorkerReady(worker, ready.SharedMemory) { Credit = credits });
                    break;
                case { Goodbye: { } goodbye } when !isReady:
                    return Decline(worker, goodbye.Reason);
                case { Goodbye: { } goodbye }:
                    return $"it said goodbye: {goodbye.Reason}";
                case { Heartbeat: not null }:
                    break;
                default:
                    RunEvent? answer = frame.Message.Partial is { Id: not null } ? arrivals.Create(frame) : WorkerEvents.ReadBlock(worker, frame.Message);
                    if (answer is null)
                        return NotInOrder;
                    answer.Credit = credits;
                    inbox.Post(answer);
                    break;
            }
        }

        return "it ended its stream";
    }

    private string Decline(int worker, string reason)
    {
        inbox.Post(new WorkerDeclined(worker, reason));
        return reason;
    }
}
