using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Output;
using Distributed.Protos;
using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Coordinator.Training;

/// <summary>What became of a partial, and what the step loop is to do about it.</summary>
/// <param name="Verdict">Whether it was added; if it was refused, its shards are open again.</param>
/// <param name="Lost">A worker that cannot be relied on, and why.</param>
internal readonly record struct IntakeResult(Verdict Verdict, (int Worker, string Reason)? Lost = null);

/// <summary>Takes the partials of one step after the other: looks at each, and adds the good ones along the tree.</summary>
internal sealed class PartialIntake(RunDefinition run, StepLedger steps, Roster roster, RunJournal journal, ILogger log, LedgerFile? ledger)
{
    private readonly PartialReview _review = new(run);
    private readonly PartialPool _pool = new(run.Model.ParameterCount);
    private TreeReduction? _reduction;
    private Partial? _sum;

    /// <summary>A step begins.</summary>
    /// <param name="activeShards">The shards 0 to this have samples in it.</param>
    public void Begin(int activeShards)
    {
        _reduction ??= new TreeReduction(run.Tree, _pool, run.Options.Wire);
        _reduction.Begin(activeShards, [run.Tree.Root]);
        _sum = null;
    }

    /// <summary>The sums over the step's samples, now the caller's, who is to <see cref="Return"/> them.</summary>
    /// <exception cref="RunFailedException">They are not finite.</exception>
    public Partial TakeSum(int epoch, int step)
    {
        Partial sum = _sum ?? throw new InvalidOperationException("the step is complete, but its sum is not");
        if (sum.Samples != run.Plan.StepSamples(step))
            throw new InvalidOperationException($"the step's sum is over {sum.Samples} samples, not {run.Plan.StepSamples(step)}");
        // Finite partials may add up to what no float32 can hold.
        return _review.FindNonFinite(sum) is { } where
            ? throw new RunFailedException($"training has diverged: the sum of {where} is not finite (epoch {epoch + 1}, step {step + 1}); try a smaller --learning-rate")
            : sum;
    }

    public void Return(Partial sum) => _pool.Return(sum);

    /// <param name="isDue">Whether it says that it is of the step under way.</param>
    /// <exception cref="RunFailedException">The partials of a shard are bad, whoever computes them.</exception>
    public IntakeResult Take(PartialArrived partial, bool isDue)
    {
        if (!isDue || steps.Accept(partial.Worker, partial.Order.MembershipVersion, partial.Node) != Verdict.Accepted)
            return Drop(partial);
        if (_review.FindFault(partial) is { } fault)
            return Refuse(partial, fault);

        Partial held = _pool.Rent();
        if (partial.Lent is PooledVector own)
            own.ExchangeWith(held);
        else
            // Looked at after it is copied: what a worker shares it could still change.
            TrainingWire.ReadVector(partial.Gradient.Span).CopyTo(held.Gradient.Values);
        (held.LossSum, held.Correct, held.Samples) = (partial.LossSum, partial.Correct, partial.Samples);
        if ((FindNonFinite(held, partial.Order) ?? _review.FindUnrounded(held, partial.Wire)) is { } seen)
        {
            _pool.Return(held);
            return Refuse(partial, seen);
        }

        ledger?.Note(partial.Node, roster.NameOf(partial.Worker));
        _sum = _reduction!.Offer(partial.Node, held, out _) ?? _sum;
        return steps.FindCulprit(partial.Node, partial.Worker) is { } culprit
            ? new IntakeResult(Verdict.Accepted, (culprit, $"another worker's partial for {partial.Node} is finite where its own was not"))
            : new IntakeResult(Verdict.Accepted);
    }

    private PartialFault? FindNonFinite(Partial held, OrderId order) =>
        _review.FindNonFinite(held) is { } where ? new PartialFault($"{where} is not finite (epoch {order.Epoch + 1}, step {order.Step + 1})", IsNonFinite: true) : null;

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
