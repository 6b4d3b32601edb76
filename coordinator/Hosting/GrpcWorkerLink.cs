using System.Collections.Immutable;
using System.Threading.Channels;
using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;

namespace Distributed.Coordinator.Hosting;

/// <summary>
/// The exchange with one worker over its gRPC stream; orders go over shared memory once it has opened what it was offered.
/// </summary>
/// <param name="exchange">Null: no shared memory is offered.</param>
internal sealed class GrpcWorkerLink(Member member, MessageLimit limit, SharedExchange? exchange, TimeProvider time) : IWorkerLink, IDisposable
{
    private static readonly Frame<CoordinatorMessage> Heartbeat = Frame.Of(new CoordinatorMessage { Heartbeat = new Heartbeat() });

    // Of a step.
    private readonly FramePool<CoordinatorMessage> _steps = FramePools.Steps();
    private readonly FramePool<CoordinatorMessage> _weights = FramePools.Weights();

    // One, or a sequence, so that a shard is cut into messages only when its turn comes.
    private readonly Channel<(Frame<CoordinatorMessage>? One, IEnumerable<Frame<CoordinatorMessage>> Many)> _outbox =
        Channel.CreateUnbounded<(Frame<CoordinatorMessage>?, IEnumerable<Frame<CoordinatorMessage>>)>(new UnboundedChannelOptions { SingleReader = true });

    private readonly Lock _closing = new();
    private readonly CancellationTokenSource _closed = new();
    private int _beatsWaiting;
    private bool _isDisposed;
    private readonly HashSet<int> _shardsSent = [];
    private readonly HashSet<int> _blocksSent = [];

    private RunDefinition? _run;

    // How vectors go to this worker and come from it, and of which step's weights it has been sent how many chunks.
    private VectorChunks? _chunks;
    private (int Epoch, int Step, int Chunks) _ahead;
    private SharedMemoryChannel? _offered;
    private SharedMemoryChannel? _shared;
    private long _lastHeard = time.GetTimestamp();
    private long _bytesSent, _bytesReceived;

    public Member Member { get; private set; } = member;

    public TimeSpan Silence => time.GetElapsedTime(Volatile.Read(ref _lastHeard));

    public long BytesSent => Volatile.Read(ref _bytesSent);

    public long BytesReceived => Volatile.Read(ref _bytesReceived);

    public bool TakesChunks => _chunks is not null && _shared is null;

    /// <summary>Cancelled when the coordinator gives the worker up.</summary>
    public CancellationToken Closed => _closed.Token;

    public string? CloseReason { get; private set; }

    public void Welcome(RunDefinition run, long membershipVersion)
    {
        _run = run;
        limit.Raise(run.MaxMessageBytes);
        // A worker says nothing while it waits for the welcome: that is no silence.
        Hear();
        Welcome welcome = run.CreateWelcome(Member.Id, membershipVersion);
        _offered = exchange?.TryCreateChannel(Member.Id, Member.Threads, run);
        welcome.SharedMemory = _offered?.Describe();
        _chunks = Member.IsNear && run.Options.ChunkBytes is null ? null : run.Chunks;
        welcome.ChunkValues = (uint)(_chunks?.Size ?? 0);
        Send(new CoordinatorMessage { Welcome = welcome });
    }

    public IEventSource? Settle(bool sharesMemory)
    {
        if (!sharesMemory || _offered is null)
        {
            _offered?.Dispose();
            return null;
        }

        _shared = _offered;
        _shared.Open();
        _shared.Heard = () => Hear();
        Member = Member with { Exchange = ExchangeKind.SharedMemory, IsNear = true };
        return _shared;
    }

    public void SendWeights(OrderId order, VectorBuffer weights, int chunk)
    {
        if (!TakesChunks)
            return;
        _ahead = (order.Epoch, order.Step, chunk + 1);
        Frame<CoordinatorMessage> frame = _weights.Rent();
        Weights message = frame.Message.Weights;
        message.Id = Fill(message.Id, order);
        message.Chunk = (uint)chunk + 1;
        Send(frame, _chunks!.Of(weights, chunk));
    }

    public void ForgetWeights() => _ahead = default;

    public void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes)
    {
        RunDefinition run = _run ?? throw new InvalidOperationException("an order before the welcome");
        Frame<CoordinatorMessage> frame = _steps.Rent();
        Step step = frame.Message.Step;
        step.Id = Fill(step.Id, order);
        step.Nodes.Clear();
        foreach (TreeNode node in nodes)
        {
            (int first, int end) = run.Tree.Range(node);
            for (int shard = first; shard < end; shard++)
            {
                if (_shardsSent.Add(shard))
                    _outbox.Writer.TryWrite((null, run.ShardMessages(shard).Select(Frame.Of)));
            }

            step.Nodes.Add(node.Code);
        }

        step.WeightsCame = _chunks is { } chunks && _ahead == (order.Epoch, order.Step, chunks.Count);
        // The worker keeps them for one order.
        if (step.WeightsCame)
            ForgetWeights();
        if (_shared?.TrySend(frame.Message) == true)
            frame.Release();
        else
            Send(frame, step.WeightsCame ? default : weights.Bytes);
    }

    public void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks)
    {
        RunDefinition run = _run ?? throw new InvalidOperationException("an order before the welcome");
        Evaluate evaluate = new() { Id = Fill(null, order) };
        foreach (int block in blocks)
        {
            if (_blocksSent.Add(block))
                Send(run.TestMessage(block, ledger.Range(block)));
            evaluate.Blocks.Add((uint)block);
        }

        CoordinatorMessage message = new() { Evaluate = evaluate };
        if (_shared?.TrySend(message) == true)
            return;
        Send(message, weights.Bytes);
    }

    public void Drain(string reason)
    {
        CoordinatorMessage message = new() { Drain = new Drain { Reason = reason } };
        if (_shared?.TrySend(message) != true)
            Send(message);
    }

    /// <summary>Tells the worker, as the last thing of all, that it need not come again.</summary>
    public void Refuse(string reason)
    {
        Send(new CoordinatorMessage { Refusal = new Refusal { Reason = reason } });
        _outbox.Writer.TryComplete();
    }

    public void Close(string reason)
    {
        CloseReason ??= reason;
        _offered?.Dispose();
        _outbox.Writer.TryComplete();
        // The call may have ended by itself long before the step loop comes to hear of it.
        lock (_closing)
        {
            if (!_isDisposed)
                _closed.Cancel();
        }
    }

    public void Dispose()
    {
        lock (_closing)
        {
            _isDisposed = true;
            _closed.Dispose();
        }
    }

    /// <summary>Notes that the worker is alive.</summary>
    /// <param name="bytes">Size of what was heard.</param>
    public void Hear(int bytes = 0)
    {
        Volatile.Write(ref _lastHeard, time.GetTimestamp());
        Interlocked.Add(ref _bytesReceived, bytes);
    }

    /// <summary>Writes until the link is closed, with a heartbeat whenever there was nothing to write for a while.</summary>
    public async Task WriteToAsync(IServerStreamWriter<Frame<CoordinatorMessage>> stream, TimeSpan heartbeatInterval, CancellationToken cancellation)
    {
        using PeriodicTimer timer = new(heartbeatInterval);
        Task beating = BeatAsync(timer, cancellation);
        // A channel that is waited for with a token allocates each time.
        await using CancellationTokenRegistration cancelling = cancellation.Register(() => _outbox.Writer.TryComplete(new OperationCanceledException(cancellation)));
        while (await _outbox.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
        {
            while (_outbox.Reader.TryRead(out (Frame<CoordinatorMessage>? One, IEnumerable<Frame<CoordinatorMessage>> Many) next))
            {
                if (next.One is { } one)
                {
                    await stream.WriteAsync(one, cancellation).ConfigureAwait(false);
                    NoteSent(one);
                }

                foreach (Frame<CoordinatorMessage> frame in next.Many)
                {
                    await stream.WriteAsync(frame, cancellation).ConfigureAwait(false);
                    NoteSent(frame);
                }
            }
        }

        timer.Dispose();
        await beating.ConfigureAwait(false);
    }

    private void NoteSent(Frame<CoordinatorMessage> frame)
    {
        Interlocked.Add(ref _bytesSent, frame.Size);
        frame.Release();
    }

    private async Task BeatAsync(PeriodicTimer timer, CancellationToken cancellation)
    {
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false))
        {
            // For a worker that does not read one heartbeat waits, not one an interval.
            if (Interlocked.Exchange(ref _beatsWaiting, 1) == 0)
                _outbox.Writer.TryWrite((null, Beat()));
        }
    }

    private IEnumerable<Frame<CoordinatorMessage>> Beat()
    {
        Volatile.Write(ref _beatsWaiting, 0);
        yield return Heartbeat;
    }

    private void Send(CoordinatorMessage message, ReadOnlyMemory<byte> vector = default) =>
        _outbox.Writer.TryWrite((new Frame<CoordinatorMessage>(message, vector), []));

    /// <param name="frame">Of a step.</param>
    private void Send(Frame<CoordinatorMessage> frame, ReadOnlyMemory<byte> vector)
    {
        frame.Carry(vector, _run!.Options.Wire == WirePrecision.Bf16);
        _outbox.Writer.TryWrite((frame, []));
    }

    /// <param name="id">Of the message's last use; null: it has had none.</param>
    private static StepId Fill(StepId? id, OrderId order)
    {
        id ??= new StepId();
        (id.Run, id.MembershipVersion, id.Epoch, id.Step) = (order.Run, (ulong)order.MembershipVersion, (uint)order.Epoch, (uint)order.Step);
        return id;
    }
}
