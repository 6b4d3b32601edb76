using System.Diagnostics;
using Distributed.Protos;
using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Distributed.Worker.Session;

/// <summary>How a session with the coordinator ended.</summary>
internal enum SessionEnd
{
    /// <summary>The coordinator let the worker go: its work is done.</summary>
    Drained,

    /// <summary>The connection broke or fell silent, or the coordinator gave the worker up. It may join again.</summary>
    Lost,
}

/// <summary>One stay with the coordinator, from hello to goodbye.</summary>
internal sealed class CoordinatorSession(Training.TrainingClient client, WorkerOptions options, ILogger log)
{
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(30);

    private long _lastHeard = Stopwatch.GetTimestamp();

    /// <summary>True once the coordinator has welcomed this worker.</summary>
    public bool WasWelcomed { get; private set; }

    /// <exception cref="RunFailedException">The coordinator refused this worker, or the worker cannot run the model.</exception>
    /// <exception cref="RpcException">There is no coordinator, or it went before it welcomed this worker.</exception>
    public async Task<SessionEnd> RunAsync(CancellationToken cancellation)
    {
        using CancellationTokenSource session = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        using AsyncDuplexStreamingCall<WorkerMessage, CoordinatorMessage> call = client.Join(cancellationToken: session.Token);
        Welcome welcome = await ShakeHandsAsync(call, cancellation).ConfigureAwait(false);
        WasWelcomed = true;

        RunContext run;
        try
        {
            run = await PrepareAsync(call, welcome, cancellation).ConfigureAwait(false);
        }
        catch (ConfigurationException exception)
        {
            string reason = $"cannot run the model: {exception.Message}";
            await call.RequestStream.WriteAsync(new WorkerMessage { Goodbye = new Goodbye { Reason = reason } }, cancellation).ConfigureAwait(false);
            await call.RequestStream.CompleteAsync().ConfigureAwait(false);
            throw new RunFailedException(exception.Message, exception);
        }

        using (run)
        {
            Log.Joined(log, run.WorkerId, run.RunId, run.ParameterCount);
            Outbox outbox = new(run.Executor.Pool);
            using OrderQueue orders = new(run, (int)welcome.Shards, outbox);
            return await ServeAsync(call, run, orders, outbox, session).ConfigureAwait(false);
        }
    }

    /// <summary>Compiles the network, which may take seconds for a large one, and says meanwhile that this worker is alive.</summary>
    private async Task<RunContext> PrepareAsync(
        AsyncDuplexStreamingCall<WorkerMessage, CoordinatorMessage> call, Welcome welcome, CancellationToken cancellation)
    {
        Task<RunContext> creating = Task.Run(() => RunContext.Create(welcome, options.Threads), cancellation);
        TimeSpan interval = TimeSpan.FromMilliseconds(welcome.HeartbeatIntervalMs);
        while (await Task.WhenAny(creating, Task.Delay(interval, cancellation)).ConfigureAwait(false) != creating && !cancellation.IsCancellationRequested)
            await call.RequestStream.WriteAsync(new WorkerMessage { Heartbeat = new Heartbeat() }, cancellation).ConfigureAwait(false);
        return await creating.ConfigureAwait(false);
    }

    private async Task<Welcome> ShakeHandsAsync(AsyncDuplexStreamingCall<WorkerMessage, CoordinatorMessage> call, CancellationToken cancellation)
    {
        using CancellationTokenSource handshake = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        await call.RequestStream.WriteAsync(
            new WorkerMessage
            {
                Hello = new Hello
                {
                    ProtocolVersion = TrainingWire.ProtocolVersion,
                    Name = options.Name,
                    Threads = (uint)options.Threads,
                    InstructionSet = Engine.InstructionSets.DisplayName(Engine.InstructionSets.Best),
                    JoinToken = options.Token?.Reveal() ?? "",
                },
            },
            handshake.Token).ConfigureAwait(false);

        // The headers come at once; the welcome only when the coordinator has its data, so heartbeats fill the time.
        handshake.CancelAfter(HandshakeTimeout);
        while (await call.ResponseStream.MoveNext(handshake.Token).ConfigureAwait(false))
        {
            handshake.CancelAfter(HandshakeTimeout);
            switch (call.ResponseStream.Current)
            {
                case { Welcome: { } welcome }:
                    return welcome;
                case { Refusal: { } refusal }:
                    throw new RunFailedException($"the coordinator refused this worker: {refusal.Reason}");
            }
        }

        throw new RpcException(new Status(StatusCode.Unavailable, "the coordinator ended the stream before it welcomed this worker"));
    }

    /// <summary>Reads, computes and writes until one of them ends; then ends the others.</summary>
    private async Task<SessionEnd> ServeAsync(
        AsyncDuplexStreamingCall<WorkerMessage, CoordinatorMessage> call,
        RunContext run,
        OrderQueue orders,
        Outbox outbox,
        CancellationTokenSource session)
    {
        Task reading = ReadAsync(call.ResponseStream, run, orders, session.Token);
        Task writing = outbox.WriteToAsync(call.RequestStream, session.Token);
        Task beating = BeatAsync(run, outbox, session.Token);
        try
        {
            Task first = await Task.WhenAny(orders.Ended, reading, writing, beating).ConfigureAwait(false);
            if (first == orders.Ended)
            {
                string reason = orders.Ended.Exception?.InnerException is { } failure ? $"failed: {failure.Message}" : "done";
                outbox.Close(reason);
                await writing.ConfigureAwait(false);
                await orders.Ended.ConfigureAwait(false);
                return SessionEnd.Drained;
            }

            await first.ConfigureAwait(false);
            Log.CoordinatorLost(log, first == beating ? "it fell silent" : "it closed the stream");
            return SessionEnd.Lost;
        }
        catch (RpcException exception)
        {
            Log.CoordinatorLost(log, exception.Status.Detail);
            return SessionEnd.Lost;
        }
        finally
        {
            await session.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(reading, writing, beating).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task ReadAsync(IAsyncStreamReader<CoordinatorMessage> stream, RunContext run, OrderQueue orders, CancellationToken cancellation)
    {
        while (await stream.MoveNext(cancellation).ConfigureAwait(false))
        {
            Volatile.Write(ref _lastHeard, Stopwatch.GetTimestamp());
            CoordinatorMessage message = stream.Current;
            switch (message.ContentCase)
            {
                case CoordinatorMessage.ContentOneofCase.ShardData:
                    ShardData shard = message.ShardData;
                    run.Shards.Add((int)shard.Shard, (int)shard.FirstSample, shard.Images.Span, shard.Labels.Span);
                    break;
                case CoordinatorMessage.ContentOneofCase.TestData:
                    run.Tests.Add((int)message.TestData.Block, message.TestData.Images.Span, message.TestData.Labels.Span);
                    break;
                case CoordinatorMessage.ContentOneofCase.Step:
                case CoordinatorMessage.ContentOneofCase.Evaluate:
                case CoordinatorMessage.ContentOneofCase.Drain:
                    orders.Add(message);
                    break;
            }
        }
    }

    /// <summary>Sends heartbeats; ends when the coordinator has been silent for too long.</summary>
    private async Task BeatAsync(RunContext run, Outbox outbox, CancellationToken cancellation)
    {
        Volatile.Write(ref _lastHeard, Stopwatch.GetTimestamp());
        using PeriodicTimer timer = new(run.HeartbeatInterval);
        do
            outbox.SendHeartbeat();
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false)
            && Stopwatch.GetElapsedTime(Volatile.Read(ref _lastHeard)) < run.HeartbeatTimeout);
    }
}
