using System.Collections.Concurrent;
using System.Diagnostics;
using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Compute;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Worker.Session;

/// <summary>
/// Carries out the coordinator's orders one after the other on a thread of its own, and puts the results on their way.
/// </summary>
internal sealed class OrderQueue : IResultSink, IDisposable
{
    // A ring is never lost but with the process that was to ring: this makes up for that.
    private static readonly TimeSpan LongestSleep = TimeSpan.FromSeconds(1);

    // From the last partial of a step to the next order it takes the coordinator less than this.
    private static readonly TimeSpan Patience = TimeSpan.FromMicroseconds(100);

    private readonly RunContext _run;
    private readonly Action _heard;
    private readonly Outbox _outbox;
    private readonly ConcurrentQueue<CoordinatorMessage> _orders = new();
    private readonly Bell _bell;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TreeNode[] _nodes;
    private readonly Thread _thread;
    private volatile bool _isStopping;
    private StepId _step = new();
    private long _arrived;

    /// <param name="heard">Called for every order that comes over shared memory: a sign of life like any other message.</param>
    public OrderQueue(RunContext run, int shards, Outbox outbox, Action heard)
    {
        _run = run;
        _heard = heard;
        _outbox = outbox;
        _bell = run.Shared?.Bell ?? new ProcessBell();
        _nodes = new TreeNode[shards];
        _thread = new Thread(Run) { IsBackground = true, Name = "compute 0" };
        _thread.Start();
    }

    /// <summary>Ends when the coordinator lets the worker go, or <see cref="Dispose"/> was called; fails when an order does.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether <see cref="Stop"/> ended it.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Adds a step, an evaluation or the last order of all, to drain.</summary>
    public void Add(CoordinatorMessage order)
    {
        _orders.Enqueue(order);
        _bell.Ring();
    }

    /// <summary>Samples have come, for which an order may be waiting.</summary>
    public void NoteData() => _bell.Ring();

    public void DeliverPartial(TreeNode node, Partial partial) => _outbox.SendPartial(_step, node, partial, Stopwatch.GetElapsedTime(_arrived));

    public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions) =>
        _outbox.SendBlock(_step, block, lossSum, correct, predictions);

    /// <summary>Carries out no more orders, but finishes the one at hand. Does not wait.</summary>
    public void Stop()
    {
        IsStopped = true;
        _isStopping = true;
        Add(new CoordinatorMessage { Drain = new Drain() });
    }

    /// <summary>Takes no more orders; the one being carried out is finished first.</summary>
    public void Dispose()
    {
        _isStopping = true;
        _bell.Ring();
        // The executor's memory must not go while a kernel writes to it.
        _thread.Join();
    }

    private void Run()
    {
        try
        {
            while (Take() is { } order && order.ContentCase != CoordinatorMessage.ContentOneofCase.Drain)
                CarryOut(order);

            _ended.SetResult();
        }
        catch (Exception exception)
        {
            _ended.SetException(exception);
        }
    }

    /// <summary>Waits for the next order and for the samples it is about; null when there is to be none any more.</summary>
    private CoordinatorMessage? Take()
    {
        CoordinatorMessage? order = null;
        while (true)
        {
            // Before everything that rings the bell is looked at.
            int seen = _bell.Look();
            if (_isStopping)
                return null;
            if (order is null && !_orders.TryDequeue(out order) && _run.Shared?.TryTake(out order) == true)
                _heard();
            // By the clock of who carries it out: what an order waits for samples is no computing.
            _arrived = Stopwatch.GetTimestamp();
            if (order is not null && HasSamplesFor(order))
                return order;
            _bell.WaitPast(seen, LongestSleep, Patience);
        }
    }

    /// <summary>An order through shared memory may overtake the samples, which come over gRPC.</summary>
    private bool HasSamplesFor(CoordinatorMessage order)
    {
        if (order.Evaluate is { } evaluate)
            return evaluate.Blocks.All(block => _run.Tests.Has((int)block));
        if (order.Step is not { } step)
            return true;
        int active = _run.Plan.ActiveShards((int)step.Id.Step);
        foreach (Node node in step.Nodes)
        {
            (int first, int end) = _run.Tree.Range(new TreeNode((int)node.Level, (int)node.Index));
            for (int shard = first; shard < Math.Min(end, active); shard++)
            {
                if (!_run.Shards.IsComplete(shard))
                    return false;
            }
        }

        return true;
    }

    private ReadOnlySpan<float> WeightsOf(Google.Protobuf.ByteString sent) =>
        !sent.IsEmpty ? TrainingWire.ReadVector(sent.Span)
        : _run.Shared is { } shared ? shared.Weights.Values
        : throw new InvalidDataException("the order has no weights");

    private void CarryOut(CoordinatorMessage order)
    {
        if (order.Step is { } step)
        {
            _step = step.Id;
            for (int i = 0; i < step.Nodes.Count; i++)
                _nodes[i] = new TreeNode((int)step.Nodes[i].Level, (int)step.Nodes[i].Index);
            _run.Executor.Train(
                WeightsOf(step.Weights), (int)step.Id.Epoch, (int)step.Id.Step, _nodes.AsSpan(0, step.Nodes.Count), this);
        }
        else if (order.Evaluate is { } evaluate)
        {
            _step = evaluate.Id;
            _run.Executor.Evaluate(WeightsOf(evaluate.Weights), [.. evaluate.Blocks.Select(static block => (int)block)], this);
        }
    }
}
