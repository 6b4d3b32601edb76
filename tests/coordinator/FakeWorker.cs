using System.Collections.Immutable;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Reduction;

namespace Distributed.Tests;

/// <summary>
/// A worker without a process: its gradients are random numbers keyed by (step, shard), summed along the tree as a real
/// one does. It answers at once, unless it is told to misbehave.
/// </summary>
internal sealed class FakeWorker(int id, RunInbox inbox, string? name = null) : IWorkerLink
{
    private readonly List<int> _chunksOfWeights = [];
    private RunDefinition _run = null!;
    private VectorBuffer? _weightsAhead;
    private OrderId _ahead;

    /// <summary>Called before each order of a step; false keeps the worker from answering.</summary>
    public Func<OrderId, bool> OnStep { get; set; } = static _ => true;

    /// <summary>Changes an answer, or makes several of one.</summary>
    public Func<PartialArrived, IEnumerable<PartialArrived>> OnAnswer { get; set; } = static answer => [answer];

    /// <summary>Changes a chunk of an answer, or makes several of one, where it <see cref="TakesChunks"/>.</summary>
    public Func<PartialArrived, IEnumerable<PartialArrived>> OnChunk { get; set; } = static chunk => [chunk];

    /// <summary>Called whenever somebody looks how long it has been silent.</summary>
    public Func<TimeSpan> OnLook { get; set; } = static () => TimeSpan.Zero;

    /// <summary>Called before each order of an evaluation; false keeps the worker from answering.</summary>
    public Func<bool> OnEvaluate { get; set; } = static () => true;

    /// <summary>Shown the weights of each order: of a step, or of an evaluation.</summary>
    public Action<bool, VectorBuffer> OnWeights { get; set; } = static (_, _) => { };

    public Member Member { get; } = new(id, name ?? $"fake-{id}", 1, "none", "nowhere");

    public TimeSpan Silence => OnLook();

    public bool TakesChunks { get; set; }

    /// <summary>Steps of which all the weights had come in chunks when they were ordered.</summary>
    public int StepsAhead { get; private set; }

    public string? CloseReason { get; private set; }

    public bool IsDrained { get; private set; }

    /// <summary>Whether it remembers <see cref="Orders"/>.</summary>
    public bool KeepsOrders { get; set; } = true;

    public List<(OrderId Order, ImmutableArray<TreeNode> Nodes)> Orders { get; } = [];

    /// <summary>Called on the welcome; false keeps the worker from becoming ready.</summary>
    public Func<bool> OnWelcome { get; set; } = static () => true;

    public void Welcome(RunDefinition run, long membershipVersion)
    {
        _run = run;
        if (OnWelcome())
            inbox.Post(new WorkerReady(id));
    }

    public IEventSource? Settle(bool sharesMemory) => null;

    public void SendWeights(OrderId order, VectorBuffer weights, int chunk)
    {
        if (!TakesChunks)
            return;
        if (chunk == 0)
            _chunksOfWeights.Clear();
        Assert.Equal(_chunksOfWeights.Count, chunk);
        _chunksOfWeights.Add(chunk);
        _ahead = order;
        // Read as late as it can be: what is sent waits in the memory it was in.
        _weightsAhead = weights;
    }

    public void ForgetWeights() => _chunksOfWeights.Clear();

    public void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes)
    {
        if (_chunksOfWeights.Count == _run.Chunks?.Count && (_ahead.Epoch, _ahead.Step) == (order.Epoch, order.Step))
        {
            Assert.True(_weightsAhead!.Values.SequenceEqual(weights.Values), "other weights came ahead than the step is ordered with");
            StepsAhead++;
            // Kept for one order.
            _chunksOfWeights.Clear();
        }

        if (KeepsOrders)
            Orders.Add((order, nodes));
        OnWeights(true, weights);
        if (!OnStep(order))
            return;
        int active = _run.Plan.ActiveShards(order.Step);
        TreeReduction reduction = new(_run.Tree, new PartialPool(_run.Model.ParameterCount), _run.Options.Wire);
        reduction.Begin(active, nodes.AsSpan());
        foreach (TreeNode node in nodes)
        {
            (int first, int end) = _run.Tree.Range(node);
            for (int shard = first; shard < Math.Min(end, active); shard++)
            {
                if (reduction.Offer(TreeNode.Leaf(shard), Compute(order, shard), out TreeNode completed) is { } sum)
                    Answer(order, completed, sum);
            }
        }
    }

    public void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks)
    {
        OnWeights(false, weights);
        if (!OnEvaluate())
            return;
        foreach (int block in blocks)
        {
            (int first, int end) = ledger.Range(block);
            inbox.Post(new BlockArrived(id, order, block, (first * 0.1) + 0.3, (end - first) / 2, new byte[end - first]));
        }
    }

    public void Drain(string reason) => IsDrained = true;

    public void Close(string reason) => CloseReason = reason;

    private Partial Compute(OrderId order, int shard)
    {
        Partial partial = new(_run.Model.ParameterCount);
        Philox random = new(9, RandomPurpose.Dropout, (uint)((order.Epoch * 10_000) + order.Step), (uint)shard);
        foreach (ref float value in partial.Gradient.Values)
            value = random.NextSingle() - 0.5f;
        partial.LossSum = random.NextSingle();
        partial.Samples = _run.Plan.MicrobatchSamples(shard, order.Step);
        partial.Correct = partial.Samples / 2;
        return partial;
    }

    private void Answer(OrderId order, TreeNode node, Partial sum)
    {
        PartialArrived answer = new(id)
        {
            Order = order,
            Node = node,
            Gradient = sum.Gradient.Bytes,
            Wire = _run.Options.Wire,
            LossSum = sum.LossSum,
            Correct = sum.Correct,
            Samples = sum.Samples,
            Compute = TimeSpan.FromMilliseconds(1),
        };
        foreach (PartialArrived sent in OnAnswer(answer))
        {
            foreach (PartialArrived posted in TakesChunks ? Cut(sent).SelectMany(OnChunk) : [sent])
                inbox.Post(posted);
        }
    }

    private IEnumerable<PartialArrived> Cut(PartialArrived answer)
    {
        for (int chunk = 0; chunk < _run.Chunks!.Count; chunk++)
        {
            (int first, int end) = _run.Chunks[chunk];
            ReadOnlyMemory<byte> rest = answer.Gradient[Math.Min(answer.Gradient.Length, first * sizeof(float))..];
            yield return answer with { Chunk = chunk, Gradient = rest[..Math.Min(rest.Length, (end - first) * sizeof(float))] };
        }
    }
}
