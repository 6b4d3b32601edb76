using System.Collections.Immutable;
using System.Threading.Channels;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;

namespace Distributed.Coordinator.Hosting;

/// <summary>The exchange with one worker over its gRPC stream.</summary>
internal sealed class GrpcWorkerLink(Member member, MessageLimit limit, TimeProvider time) : IWorkerLink, IDisposable
{
    private static readonly CoordinatorMessage Heartbeat = new() { Heartbeat = new Heartbeat() };

    // Sequences, so that a shard is cut into messages only when its turn comes.
    private readonly Channel<IEnumerable<CoordinatorMessage>> _outbox =
        Channel.CreateUnbounded<IEnumerable<CoordinatorMessage>>(new UnboundedChannelOptions { SingleReader = true });

    private readonly Lock _closing = new();
    private readonly CancellationTokenSource _closed = new();
    private int _beatsWaiting;
    private bool _isDisposed;
    private readonly HashSet<int> _shardsSent = [];
    private readonly HashSet<int> _blocksSent = [];
    private RunDefinition? _run;
    private long _lastHeard = time.GetTimestamp();

    public Member Member { get; } = member;

    public TimeSpan Silence => time.GetElapsedTime(Volatile.Read(ref _lastHeard));

    /// <summary>Cancelled when the coordinator gives the worker up.</summary>
    public CancellationToken Closed => _closed.Token;

    public string? CloseReason { get; private set; }

    public void Welcome(RunDefinition run, long membershipVersion)
    {
        _run = run;
        limit.Raise(run.MaxMessageBytes);
        // A worker says nothing while it waits for the welcome: that is no silence.
        Hear();
        Send(new CoordinatorMessage { Welcome = run.CreateWelcome(Member.Id, membershipVersion) });
    }

    public void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes)
    {
        RunDefinition run = _run ?? throw new InvalidOperationException("an order before the welcome");
        Step step = new() { Id = ToWire(order), Weights = TrainingWire.Wrap(weights.Bytes) };
        foreach (TreeNode node in nodes)
        {
            (int first, int end) = run.Tree.Range(node);
            for (int shard = first; shard < end; shard++)
            {
                if (_shardsSent.Add(shard))
                    _outbox.Writer.TryWrite(run.ShardMessages(shard));
            }

            step.Nodes.Add(new Node { Level = (uint)node.Level, Index = (uint)node.Index });
        }

        Send(new CoordinatorMessage { Step = step });
    }

    public void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks)
    {
        RunDefinition run = _run ?? throw new InvalidOperationException("an order before the welcome");
        Evaluate evaluate = new() { Id = ToWire(order), Weights = TrainingWire.Wrap(weights.Bytes) };
        foreach (int block in blocks)
        {
            if (_blocksSent.Add(block))
                Send(run.TestMessage(block, ledger.Range(block)));
            evaluate.Blocks.Add((uint)block);
        }

        Send(new CoordinatorMessage { Evaluate = evaluate });
    }

    public void Drain(string reason) => Send(new CoordinatorMessage { Drain = new Drain { Reason = reason } });

    public void Close(string reason)
    {
        CloseReason ??= reason;
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
    public void Hear() => Volatile.Write(ref _lastHeard, time.GetTimestamp());

    /// <summary>Writes until the link is closed, with a heartbeat whenever there was nothing to write for a while.</summary>
    public async Task WriteToAsync(IServerStreamWriter<CoordinatorMessage> stream, TimeSpan heartbeatInterval, CancellationToken cancellation)
    {
        using PeriodicTimer timer = new(heartbeatInterval);
        Task beating = BeatAsync(timer, cancellation);
        await foreach (IEnumerable<CoordinatorMessage> messages in _outbox.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            foreach (CoordinatorMessage message in messages)
                await stream.WriteAsync(message, cancellation).ConfigureAwait(false);
        }

        timer.Dispose();
        await beating.ConfigureAwait(false);
    }

    private async Task BeatAsync(PeriodicTimer timer, CancellationToken cancellation)
    {
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false))
        {
            // For a worker that does not read one heartbeat waits, not one an interval.
            if (Interlocked.Exchange(ref _beatsWaiting, 1) == 0)
                _outbox.Writer.TryWrite(Beat());
        }
    }

    private IEnumerable<CoordinatorMessage> Beat()
    {
        Volatile.Write(ref _beatsWaiting, 0);
        yield return Heartbeat;
    }

    private void Send(CoordinatorMessage message) => _outbox.Writer.TryWrite([message]);

    private static StepId ToWire(OrderId order) => TrainingWire.CreateStepId(order.RunId, order.MembershipVersion, order.Epoch, order.Step);
}
