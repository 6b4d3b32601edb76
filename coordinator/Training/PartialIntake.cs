using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Output;
using Distributed.Optimizers;
using Distributed.Protos;
using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Coordinator.Training;

/// <summary>What became of a partial, and what the step loop is to do about it.</summary>
/// <param name="Verdict">Whether it was added; if it was refused, its shards are open again.</param>
/// <param name="Lost">A worker that cannot be relied on, and why.</param>
internal readonly record struct IntakeResult(Verdict Verdict, (int Worker, string Reason)? Lost = null);

/// <summary>
/// Takes the partials of one step after the other: looks at each, and adds the good ones along the tree; in the end, updates
/// the weights by the sum. Where vectors travel in chunks, that is done chunk by chunk as they come.
/// </summary>
internal sealed class PartialIntake(
    RunDefinition run, StepLedger steps, Roster roster, Optimizer optimizer, RunWeights weights, RunJournal journal, ILogger log, LedgerFile? ledger)
{
    private readonly PartialReview _review = new(run);
    private readonly PartialPool _pool = new(run.Model.ParameterCount);

    // Partials of which not all chunks are in, by node: from whom, and how many are.
    private readonly Dictionary<TreeNode, (Partial Partial, int Worker, int Chunks)> _begun = [];
    private TreeReduction? _reduction;
    private Partial? _sum;
    private OrderId _order;

    // Made when first needed: it takes memory for several vectors.
    private StagedStep? _stages;
    private bool _isStaged;

    /// <summary>Spent on adding and updating while partials were still coming.</summary>
    public TimeSpan Updating => _isStaged ? _stages!.Updating : TimeSpan.Zero;

    /// <summary>A step begins.</summary>
    /// <param name="order">Which.</param>
    /// <param name="activeShards">The shards 0 to this have samples in it.</param>
    /// <param name="next">The step after it, whose weights may be sent before it is ordered; null: there is none.</param>
    public void Begin(OrderId order, int activeShards, OrderId? next)
    {
        _order = order;
        _sum = null;
        _isStaged = roster.TakesChunks;
        if (_isStaged)
        {
            _stages ??= new StagedStep(run, run.Chunks!, roster, _review, new StagedUpdate(optimizer, weights, run.Chunks!), _pool);
            _stages.Begin(order, activeShards, next);
        }
        else
        {
            _reduction ??= new TreeReduction(run.Tree, _pool, run.Options.Wire);
            _reduction.Begin(activeShards, [run.Tree.Root]);
        }
    }

    /// <summary>The sums over the samples of the step, whose partials are all in.</summary>
    /// <exception cref="RunFailedException">They are not finite.</exception>
    public StepTotals Sum()
    {
        StepTotals totals = _isStaged ? _stages!.Sum() : _sum?.Totals ?? throw new InvalidOperationException("the step is complete, but its sum is not");
        if (totals.Samples != run.Plan.StepSamples(_order.Step))
            throw new InvalidOperationException($"the step's sum is over {totals.Samples} samples, not {run.Plan.StepSamples(_order.Step)}");
        string? fault = !double.IsFinite(totals.LossSum) ? "the loss" : _sum is null ? null : _review.FindNonFinite(_sum.Gradient, (0, _sum.Gradient.Length));
        return fault is null ? totals : throw PartialReview.Diverged(fault, _order);
    }

    /// <summary>Updates the weights by the sum, as far as that is not done.</summary>
    public void Update()
    {
        if (_isStaged)
        {
            _stages!.Commit();
        }
        else
        {
            weights.Update(optimizer, _sum!);
            _pool.Return(_sum!);
        }

        _isStaged = false;
        _sum = null;
    }

    /// <summary>The step is broken off: takes back what of its update is done.</summary>
    public void TakeBack()
    {
        if (_isStaged)
            _stages!.TakeBack();
    }

    /// <summary>Nothing more comes from a worker.</summary>
    public void Lose(int worker)
    {
        foreach ((TreeNode node, (Partial Partial, int Worker, int Chunks) begun) in _begun)
        {
            if (begun.Worker == worker)
                Discard(node, begun.Partial);
        }
    }

    /// <param name="isDue">Whether it says that it is of the step under way.</param>
    /// <exception cref="RunFailedException">The partials of a shard are bad, whoever computes them.</exception>
    public IntakeResult Take(PartialArrived partial, bool isDue)
    {
        if (!isDue || !steps.IsAwaited(partial.Worker, partial.Order.MembershipVersion, partial.Node))
            return Drop(partial);
        bool isBegun = _begun.TryGetValue(partial.Node, out (Partial Partial, int Worker, int Chunks) begun);
        // The rest of one that was refused.
        if (partial.Chunk > 0 && !isBegun && steps.FindRefused(partial.Node) == partial.Worker)
            return Drop(partial);
        if ((_review.FindFault(partial) ?? PartialReview.FindGap(partial, isBegun ? begun.Chunks : null)) is { } fault)
            return Refuse(partial, fault);

        Partial held = isBegun ? begun.Partial : _pool.Rent();
        Read(partial, held);
        (int First, int End) range = partial.Chunk is { } chunk ? run.Chunks![chunk] : (0, held.Gradient.Length);
        if ((FindNonFinite(held, range, partial.Order) ?? _review.FindUnrounded(held, partial.Wire)) is { } seen)
        {
            Discard(partial.Node, held);
            return Refuse(partial, seen);
        }

        return Add(partial, held, partial.Chunk + 1 ?? run.Chunks?.Count ?? 1);
    }

    /// <summary>Copies what has come to its place; of a vector that is whole, the place to what has come.</summary>
    private void Read(PartialArrived partial, Partial held)
    {
        if (partial.Chunk is { } chunk)
        {
            (int first, int end) = run.Chunks![chunk];
            TrainingWire.ReadVector(partial.Gradient.Span).CopyTo(held.Gradient.Values[first..end]);
        }
        else if (partial.Exchangeable is { } own)
        {
            own.ExchangeWith(held);
        }
        else
        {
            // Looked at after it is copied: what a worker shares it could still change.
            TrainingWire.ReadVector(partial.Gradient.Span).CopyTo(held.Gradient.Values);
        }

        (held.LossSum, held.Correct, held.Samples) = (partial.LossSum, partial.Correct, partial.Samples);
    }

    /// <param name="chunks">How many chunks of it are in, by now.</param>
    private IntakeResult Add(PartialArrived partial, Partial held, int chunks)
    {
        bool isWhole = partial.Chunk is null || chunks == run.Chunks!.Count;
        if (isWhole)
        {
            _begun.Remove(partial.Node);
            steps.Accept(partial.Worker, partial.Order.MembershipVersion, partial.Node);
            ledger?.Note(partial.Node, roster.NameOf(partial.Worker));
        }
        else
        {
            _begun[partial.Node] = (held, partial.Worker, chunks);
        }

        if (_isStaged)
            _stages!.Note(partial.Worker, partial.Node, held, chunks);
        else if (isWhole)
            _sum = _reduction!.Offer(partial.Node, held, out _) ?? _sum;
        if (!isWhole)
            return new IntakeResult(Verdict.Begun);
        return steps.FindCulprit(partial.Node, partial.Worker) is { } culprit
            ? new IntakeResult(Verdict.Accepted, (culprit, $"another worker's partial for {partial.Node} is finite where its own was not"))
            : new IntakeResult(Verdict.Accepted);
    }

    private void Discard(TreeNode node, Partial partial)
    {
        _begun.Remove(node);
        if (_isStaged)
            _stages!.Remove(node);
        _pool.Return(partial);
    }

    private PartialFault? FindNonFinite(Partial held, (int First, int End) range, OrderId order) =>
        (_review.FindNonFinite(held.Gradient, range) ?? PartialReview.FindNonFinite(held.LossSum)) is { } where
            ? new PartialFault($"{where} is not finite (epoch {order.Epoch + 1}, step {order.Step + 1})", IsNonFinite: true)
            : null;

    /// <summary>
    /// Nobody waits for this partial. Late answers of those who are out are part of life; a member that sends something else
    /// than it owes would be waited for in vain.
    /// </summary>
    private IntakeResult Drop(PartialArrived partial)
    {
        if (roster.Membership.Find(partial.Worker) is null || !steps.Strays(partial.Worker, partial.Node))
            return new IntakeResult(Verdict.Stale);
        string fault = PartialReview.DescribeStray(partial.Order);
        NoteRefusal(partial, fault);
        return new IntakeResult(Verdict.Stale, (partial.Worker, $"its partial for {partial.Node} was refused: {fault}"));
    }

    /// <summary>Has a bad partial's shards computed again, elsewhere; bad twice, the run is over.</summary>
    private IntakeResult Refuse(PartialArrived partial, PartialFault fault)
    {
        NoteRefusal(partial, fault.Text);
        if (_begun.TryGetValue(partial.Node, out (Partial Partial, int Worker, int Chunks) begun))
            Discard(partial.Node, begun.Partial);
        steps.Accept(partial.Worker, partial.Order.MembershipVersion, partial.Node);
        if (steps.FindRefused(partial.Node) is { } earlier)
            throw new RunFailedException(_review.DescribeRepeated(partial, fault, roster.NameOf(earlier), roster.NameOf(partial.Worker)));
        steps.Refuse(partial.Node, partial.Worker);
        // Not finite: it may be the weights' fault. The rest no worker in order sends.
        return fault.IsNonFinite
            ? new IntakeResult(Verdict.Refused)
            : new IntakeResult(Verdict.Refused, (partial.Worker, $"its partial for {partial.Node} was refused: {fault.Text}"));
    }

    private void NoteRefusal(PartialArrived partial, string fault)
    {
        string name = roster.NameOf(partial.Worker);
        Log.RefusedPartial(log, name, $"{partial.Node}", fault);
        journal.Record(JournalKind.RefusedPartial, name, $"{partial.Node}: {fault}");
    }
}
