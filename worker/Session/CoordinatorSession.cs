using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Exchange;
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

    /// <summary>The worker was told to stop, and has said goodbye.</summary>
    Stopped,
}

/// <summary>One stay with the coordinator, from hello to goodbye.</summary>
/// <param name="findConnection">Gives what the call goes over, once it does; null: it is not known.</param>
internal sealed class CoordinatorSession(CallInvoker invoker, WorkerOptions options, TimeProvider time, ILogger log, Func<ClientStream?>? findConnection = null)
{
    // From one sign of life of the coordinator to the next, while it has not told how often it gives them.
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    // A worker that is told to stop finishes the microbatches at hand; they take no longer in any sane run.
    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(4);

    private static readonly TimeSpan GoodbyeTimeout = TimeSpan.FromSeconds(1);

    // The one being carried out, the next, and what a loss of other workers adds to them.
    private const int MostOrders = 4;

    private readonly VectorPool _vectors = new();
    private long _lastHeard = time.GetTimestamp();

    /// <summary>True once the coordinator has welcomed this worker.</summary>
    public bool WasWelcomed { get; private set; }

    /// <exception cref="RunFailedException">The coordinator refused this worker, or the worker cannot run the model.</exception>
    /// <exception cref="RpcException">There is no coordinator, or it went before it welcomed this worker.</exception>
    public async Task<SessionEnd> RunAsync(CancellationToken stop)
    {
        using CancellationTokenSource session = new();
        using AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call =
            invoker.AsyncDuplexStreamingCall(JoinMethod.Create(_vectors.Rent), null, new CallOptions(cancellationToken: session.Token));
        RunContext? run;
        Welcome? welcome;
        Task<bool> next;
        using (stop.Register(session.Cancel))
        {
            welcome = await ShakeHandsAsync(call, session.Token).ConfigureAwait(false);
            WasWelcomed = true;
            if (welcome is null)
                return SessionEnd.Drained;
            (run, next) = await PrepareAsync(call, welcome, session.Token).ConfigureAwait(false);
            if (run is null)
                return SessionEnd.Drained;
        }

        using (run)
        {
            _vectors.Keep(run.ParameterCount, MostOrders);
            _vectors.Keep(run.Chunks, MostOrders);
            Log.Joined(log, run.WorkerId, run.RunId, run.ParameterCount);
            ClientStream? connection = findConnection?.Invoke();
            connection?.Allow((int)Math.Min(welcome.WindowBytes, int.MaxValue), options.Coordinator.IsLoopback);
            Outbox outbox = new(run.Executor.Pool, run.Shared, run.Precision, run.Chunks, connection);
            using OrderQueue orders = new(run, (int)welcome.Shards, outbox, heard: () => Volatile.Write(ref _lastHeard, time.GetTimestamp()));
            using CancellationTokenRegistration stopping = stop.Register(() =>
            {
                orders.Stop();
                session.CancelAfter(StopTimeout);
            });
            SessionEnd end = await ServeAsync(call, next, run, orders, outbox, session).ConfigureAwait(false);
            return stop.IsCancellationRequested ? SessionEnd.Stopped : end;
        }
    }

    /// <summary>What the coordinator welcomes this worker with; null: its run has just ended.</summary>
    private async Task<Welcome?> ShakeHandsAsync(AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call, CancellationToken cancellation)
    {
        using CancellationTokenSource handshake = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        handshake.CancelAfter(HandshakeTimeout);
        await call.RequestStream.WriteAsync(
            Frame.Of(new WorkerMessage
            {
                Hello = new Hello
                {
                    ProtocolVersion = TrainingWire.ProtocolVersion,
                    Name = options.Name,
                    Threads = (uint)options.Threads,
                    SharedMemory = options.Exchange != ExchangeChoice.Grpc && SharedSegment.Folder() is not null,
                    Arithmetic = Engine.Arithmetic.Version,
                    InstructionSet = Engine.InstructionSets.DisplayName(Engine.InstructionSets.Best),
                    JoinToken = options.Token?.Reveal() ?? "",
                },
            }),
            handshake.Token).ConfigureAwait(false);

        // The welcome comes when the coordinator has its data; heartbeats fill the time.
        while (await call.ResponseStream.MoveNext(handshake.Token).ConfigureAwait(false))
        {
            handshake.CancelAfter(HandshakeTimeout);
            switch (call.ResponseStream.Current.Message)
            {
                case { Welcome: { } welcome }:
                    return welcome;
                case { Drain: not null }:
                    return null;
                case { Refusal: { } refusal }:
                    throw new RunFailedException($"the coordinator refused this worker: {refusal.Reason}");
            }
        }

        throw new RpcException(new Status(StatusCode.Unavailable, "the coordinator ended the stream before it welcomed this worker"));
    }

    /// <summary>
    /// Compiles the network and every kernel, which may take seconds, and says meanwhile that this worker is alive; in the
    /// end, that it is ready, or why it cannot be.
    /// </summary>
    /// <returns>Run is null if the coordinator lets the worker go before; Next is the reading of what the coordinator says next.</returns>
    private async Task<(RunContext? Run, Task<bool> Next)> PrepareAsync(
        AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call, Welcome welcome, CancellationToken cancellation)
    {
        Task<RunContext> creating = Task.Run(() => RunContext.Create(welcome, options.Threads, options.Exchange), CancellationToken.None);
        try
        {
            TimeSpan interval = TimeSpan.FromMilliseconds(welcome.HeartbeatIntervalMs);
            Task<bool> next = call.ResponseStream.MoveNext(cancellation);
            Task beat = Task.Delay(interval, cancellation);
            while (true)
            {
                Task first = await Task.WhenAny(next, creating, beat).ConfigureAwait(false);
                if (first == next && await next.ConfigureAwait(false))
                {
                    if (call.ResponseStream.Current.Message.Drain is not null)
                    {
                        Abandon(creating);
                        return (null, next);
                    }

                    if (call.ResponseStream.Current.Message.Refusal is { } refusal)
                        throw new RunFailedException($"the coordinator refused this worker: {refusal.Reason}");
                    next = call.ResponseStream.MoveNext(cancellation);
                }
                else if (first == beat)
                {
                    await beat.ConfigureAwait(false);
                    await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Heartbeat = new Heartbeat() }), cancellation).ConfigureAwait(false);
                    beat = Task.Delay(interval, cancellation);
                }
                else
                {
                    // Compiled; or else the coordinator has ended the stream, which serving it will find.
                    break;
                }
            }

            RunContext run = await creating.ConfigureAwait(false);
            await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Ready = new Ready { SharedMemory = run.Shared is not null } }), cancellation).ConfigureAwait(false);
            return (run, next);
        }
        catch (ConfigurationException exception)
        {
            string reason = $"it cannot run the model: {exception.Message}";
            await call.RequestStream.WriteAsync(Frame.Of(new WorkerMessage { Goodbye = new Goodbye { Reason = reason } }), cancellation).ConfigureAwait(false);
            await call.RequestStream.CompleteAsync().ConfigureAwait(false);
            throw new RunFailedException($"cannot run the coordinator's model: {exception.Message}", exception);
        }
        catch
        {
            Abandon(creating);
            throw;
        }
    }

    // Its memory is not for the collector to find.
    private static void Abandon(Task<RunContext> creating) => creating.ContinueWith(
        static done => done.Result.Dispose(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);

    /// <summary>Reads, computes and writes until one of them ends; then ends the others.</summary>
    private async Task<SessionEnd> ServeAsync(
        AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> call,
        Task<bool> next,
        RunContext run,
        OrderQueue orders,
        Outbox outbox,
        CancellationTokenSource session)
    {
        Task reading = ReadAsync(call.ResponseStream, next, run, orders, session.Token);
        Task writing = outbox.WriteToAsync(call.RequestStream, session.Token);
        Task beating = BeatAsync(run, outbox, session.Token);
        try
        {
            Task first = await Task.WhenAny(orders.Ended, reading, writing, beating).ConfigureAwait(false);
            if (first == orders.Ended)
            {
                Exception? failure = orders.Ended.Exception?.InnerException;
                outbox.Close(failure is not null ? $"failed: {failure.Message}" : orders.IsStopped ? "it was told to stop" : "done");
                await writing.ConfigureAwait(false);
                // The coordinator ends the call when it has read the goodbye; to cancel it before would take that back.
                await Task.WhenAny(reading, Task.Delay(GoodbyeTimeout, time, session.Token)).ConfigureAwait(false);
                return failure is null ? SessionEnd.Drained : throw new RunFailedException($"could not carry out an order: {failure.Message}", failure);
            }

            await first.ConfigureAwait(false);
            Log.CoordinatorLost(log, first == beating ? "it fell silent" : "it closed the stream");
            return SessionEnd.Lost;
        }
        catch (Exception exception) when (exception is RpcException or IOException or InvalidOperationException)
        {
            Log.CoordinatorLost(log, exception is RpcException rpc ? rpc.Status.Detail : exception.Message);
            return SessionEnd.Lost;
        }
        finally
        {
            await session.CancelAsync().ConfigureAwait(false);
            await Task.WhenAll(reading, writing, beating).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <param name="next">The reading of the first message, which has begun.</param>
    private async Task ReadAsync(
        IAsyncStreamReader<Frame<CoordinatorMessage>> stream, Task<bool> next, RunContext run, OrderQueue orders, CancellationToken cancellation)
    {
        WeightsAhead ahead = new(_vectors, run.Chunks, run.Precision);
        for (; await next.ConfigureAwait(false); next = stream.MoveNext(cancellation))
        {
            Volatile.Write(ref _lastHeard, time.GetTimestamp());
            CoordinatorMessage message = stream.Current.Message;
            switch (message.ContentCase)
            {
                case CoordinatorMessage.ContentOneofCase.ShardData:
                    ShardData shard = message.ShardData;
                    run.Shards.Add((int)shard.Shard, (int)shard.FirstSample, shard.Images.Span, shard.Labels.Span);
                    orders.NoteData();
                    break;
                case CoordinatorMessage.ContentOneofCase.TestData:
                    run.Tests.Add((int)message.TestData.Block, message.TestData.Images.Span, message.TestData.Labels.Span);
                    orders.NoteData();
                    break;
                case CoordinatorMessage.ContentOneofCase.Refusal:
                    throw new RunFailedException($"the coordinator refused this worker: {message.Refusal.Reason}");
                case CoordinatorMessage.ContentOneofCase.Weights:
                    ahead.Add(message.Weights, stream.Current.Vector, stream.Current.IsBfloat16);
                    stream.Current.Release();
                    break;
                case CoordinatorMessage.ContentOneofCase.Step when message.Step.WeightsCame:
                    stream.Current.Take(ahead.Take(message.Step.Id), run.Precision == WirePrecision.Bf16);
                    orders.Add(stream.Current);
                    break;
                case CoordinatorMessage.ContentOneofCase.Step:
                case CoordinatorMessage.ContentOneofCase.Evaluate:
                case CoordinatorMessage.ContentOneofCase.Drain:
                    orders.Add(stream.Current);
                    break;
            }
        }
    }

    /// <summary>Sends heartbeats; ends when the coordinator has been silent for too long.</summary>
    private async Task BeatAsync(RunContext run, Outbox outbox, CancellationToken cancellation)
    {
        FailureDetector coordinator = new(run.HeartbeatInterval, run.HeartbeatTimeout);
        long lastLook = time.GetTimestamp();
        Volatile.Write(ref _lastHeard, lastLook);
        using PeriodicTimer timer = new(run.HeartbeatInterval, time);
        TimeSpan sinceLook;
        do
        {
            outbox.SendHeartbeat();
            if (!await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false))
                return;
            sinceLook = time.GetElapsedTime(lastLook);
            lastLook = time.GetTimestamp();
        }
        while (!coordinator.Look(sinceLook, time.GetElapsedTime(Volatile.Read(ref _lastHeard))));
    }
}
