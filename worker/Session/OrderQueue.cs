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

    private static readonly StepId s_none = new();

    private readonly RunContext _run;
    private readonly Action _heard;
    private readonly Outbox _outbox;
    private readonly ConcurrentQueue<Frame<CoordinatorMessage>> _orders = new();
    private readonly Bell _bell;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TreeNode[] _nodes;
    private readonly Thread _thread;
    private volatile bool _isStopping;
    private StepId _step = s_none;
    private Frame<CoordinatorMessage>? _frame;
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
    public void Add(Frame<CoordinatorMessage> order)
    {
        _orders.Enqueue(order);
        _bell.Ring();
    }

    /// <summary>Samples have come, for which an order may be waiting.</summary>
    public void NoteData() => _bell.Ring();

    public void DeliverPartial(TreeNode node, Partial partial) => _outbox.SendPartial(_step, node, partial, Stopwatch.GetElapsedTime(_arrived));

    public void DeliverChunk(TreeNode node, Partial partial, int chunk) => _outbox.SendChunk(_step, node, partial, chunk, Stopwatch.GetElapsedTime(_arrived));

    public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions) =>
        _outbox.SendBlock(_step, block, lossSum, correct, predictions);

    /// <summary>Carries out no more orders, but finishes the one at hand. Does not wait.</summary>
    public void Stop()
    {
        IsStopped = true;
        _isStopping = true;
        Add(Frame.Of(new CoordinatorMessage { Drain = new Drain() }));
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
            order ??= TakeNext();
            // By the clock of who carries it out: what an order waits for samples is no computing.
            _arrived = Stopwatch.GetTimestamp();
            if (order is not null && HasSamplesFor(order))
                return order;
            _bell.WaitPast(seen, LongestSleep, Patience);
        }
    }

    private CoordinatorMessage? TakeNext()
    {
        if (_orders.TryDequeue(out _frame))
            return _frame.Message;
        if (_run.Shared?.TryTake(out CoordinatorMessage? order) != true)
            return null;
        _heard();
        return order;
    }

    /// <summary>An order through shared memory may overtake the samples, which come over gRPC.</summary>
    private bool HasSamplesFor(CoordinatorMessage order)
    {
        if (order.Evaluate is { } evaluate)
            return evaluate.Blocks.All(block => _run.Tests.Has((int)block));
        if (order.Step is not { } step)
            return true;
        int active = _run.Plan.ActiveShards((int)step.Id.Step);
        // By index, as below: this field's enumerator would be garbage a step.
        for (int i = 0; i < step.Nodes.Count; i++)
        {
            (int first, int end) = _run.Tree.Range(TreeNode.FromCode(step.Nodes[i]));
            for (int shard = first; shard < Math.Min(end, active); shard++)
            {
                if (!_run.Shards.IsComplete(shard))
                    return false;
            }
        }

        return true;
    }

    /// <param name="precision">What they must have travelled as.</param>
    private ReadOnlySpan<float> WeightsOfOrder(WirePrecision precision) =>
        _frame is { Vector.IsEmpty: false } frame
            ? frame.IsBfloat16 == (precision == WirePrecision.Bf16)
                ? TrainingWire.ReadVector(frame.Vector.Span)
                : throw new InvalidDataException($"the order's weights have not come as {precision.Word()}")
        : _run.Shared is { } shared ? shared.Weights.Values
        : throw new InvalidDataException("the order has no weights");

    private void CarryOut(CoordinatorMessage order)
    {
        if (order.Step is { } step)
        {
            _step = step.Id;
            for (int i = 0; i < step.Nodes.Count; i++)
                _nodes[i] = TreeNode.FromCode(step.Nodes[i]);
            _run.Executor.Train(
                WeightsOfOrder(_run.Precision), (int)step.Id.Epoch, (int)step.Id.Step, _nodes.AsSpan(0, step.Nodes.Count), this);
        }
        else if (order.Evaluate is { } evaluate)
        {
            _step = evaluate.Id;
            _run.Executor.Evaluate(WeightsOfOrder(WirePrecision.Float32), [.. evaluate.Blocks.Select(static block => (int)block)], this);
        }

        // Its message will be another order's.
        _step = s_none;
        _frame?.Release();
        _frame = null;
    }
}
