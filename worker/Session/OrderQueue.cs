using System.Collections.Concurrent;
using System.Diagnostics;
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
    private readonly RunContext _run;
    private readonly Outbox _outbox;
    private readonly BlockingCollection<(CoordinatorMessage Order, long Arrived)> _orders = [];
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TreeNode[] _nodes;
    private readonly Thread _thread;
    private volatile bool _isStopping;
    private StepId _step = new();
    private long _arrived;

    public OrderQueue(RunContext run, int shards, Outbox outbox)
    {
        _run = run;
        _outbox = outbox;
        _nodes = new TreeNode[shards];
        _thread = new Thread(Run) { IsBackground = true, Name = "compute 0" };
        _thread.Start();
    }

    /// <summary>Ends when the coordinator lets the worker go, or <see cref="Dispose"/> was called; fails when an order does.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Whether <see cref="Stop"/> ended it.</summary>
    public bool IsStopped { get; private set; }

    /// <summary>Adds a step, an evaluation or the last order of all, to drain.</summary>
    public void Add(CoordinatorMessage order) => _orders.Add((order, Stopwatch.GetTimestamp()));

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
        _orders.CompleteAdding();
        // The executor's memory must not go while a kernel writes to it.
        _thread.Join();
        _orders.Dispose();
    }

    private void Run()
    {
        try
        {
            foreach ((CoordinatorMessage order, long arrived) in _orders.GetConsumingEnumerable())
            {
                _arrived = arrived;
                if (_isStopping || order.ContentCase == CoordinatorMessage.ContentOneofCase.Drain)
                    break;
                CarryOut(order);
            }

            _ended.SetResult();
        }
        catch (Exception exception)
        {
            _ended.SetException(exception);
        }
    }

    private void CarryOut(CoordinatorMessage order)
    {
        if (order.Step is { } step)
        {
            _step = step.Id;
            for (int i = 0; i < step.Nodes.Count; i++)
                _nodes[i] = new TreeNode((int)step.Nodes[i].Level, (int)step.Nodes[i].Index);
            _run.Executor.Train(
                TrainingWire.ReadVector(step.Weights.Span), (int)step.Id.Epoch, (int)step.Id.Step, _nodes.AsSpan(0, step.Nodes.Count), this);
        }
        else if (order.Evaluate is { } evaluate)
        {
            _step = evaluate.Id;
            _run.Executor.Evaluate(TrainingWire.ReadVector(evaluate.Weights.Span), [.. evaluate.Blocks.Select(static block => (int)block)], this);
        }
    }
}
