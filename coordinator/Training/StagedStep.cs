using System.Diagnostics;
using Distributed.Coordinator.Members;
using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Coordinator.Training;

/// <summary>
/// A step whose vectors travel in chunks: what has come of all its partials is added, the weights updated by it and sent for
/// the step after it, while the rest of the partials is still on its way. So both directions of a link are busy at once.
/// </summary>
internal sealed class StagedStep(RunDefinition run, VectorChunks chunks, Roster roster, PartialReview review, StagedUpdate update, PartialPool pool)
{
    private readonly ChunkwiseReduction _reduction = new(run.Tree, chunks, pool, run.Options.Wire);
    private readonly ChunkScratch _scratch = new(run.Tree, chunks);
    private readonly VectorBuffer _sum = new(run.Model.ParameterCount);
    private readonly List<int> _senders = [];
    private OrderId _order;
    private OrderId? _next;

    /// <summary>Spent in the step on adding and updating, beside the waiting for more.</summary>
    public TimeSpan Updating { get; private set; }

    /// <summary>Starts a step; the one before is over, or taken back.</summary>
    /// <param name="order">Which.</param>
    /// <param name="activeShards">The shards 0 to this have samples in it.</param>
    /// <param name="next">The step after it, whose weights may be sent before it is ordered; null: there is none.</param>
    public void Begin(OrderId order, int activeShards, OrderId? next)
    {
        _reduction.Begin(activeShards);
        _senders.Clear();
        _order = order;
        _next = next;
        Updating = TimeSpan.Zero;
    }

    /// <summary>A partial has more of its chunks, or all: then it passes to the step.</summary>
    /// <param name="count">How many are in, by now.</param>
    /// <exception cref="RunFailedException">The sums are not finite.</exception>
    public void Note(int worker, TreeNode node, Partial partial, int count)
    {
        if (!_senders.Contains(worker))
            _senders.Add(worker);
        _reduction.Note(node, partial, count);
        int available = _reduction.Available;
        while (update.Done < available)
            Update();
    }

    /// <summary>Of a partial no more will come, or it is bad. What has been done with it is taken back.</summary>
    public void Remove(TreeNode node)
    {
        TakeBack();
        _reduction.Remove(node);
    }

    /// <summary>Takes back what is done of the update. It will be done again, and the weights sent again, when more comes.</summary>
    public void TakeBack() => update.TakeBack(((long)_order.Epoch * run.Plan.StepsPerEpoch) + _order.Step);

    /// <summary>The sums but for the gradient. All partials are in.</summary>
    public StepTotals Sum() => _reduction.AddCounts();

    /// <summary>The step is over: makes its weights the weights.</summary>
    public void Commit()
    {
        update.Commit();
        _reduction.End();
    }

    private void Update()
    {
        long start = Stopwatch.GetTimestamp();
        int chunk = update.Done;
        if (chunk == 0)
        {
            // Their memory is about to change, and may still wait for a worker that has had no order in this step: should it get one, then with whole weights.
            roster.ForgetWeights();
        }

        _reduction.Add(chunk, _sum.Values, _scratch);
        if (review.FindNonFinite(_sum, chunks[chunk]) is { } where)
            throw PartialReview.Diverged(where, _order);
        update.UpdateChunk(_sum.Values, run.Plan.StepSamples(_order.Step));
        if (_next is { } next)
        {
            foreach (int worker in _senders)
                roster.Find(worker)?.SendWeights(next, update.Next, chunk);
        }

        Updating += Stopwatch.GetElapsedTime(start);
    }
}
