using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>
/// The update of one step, chunk by chunk beside the weights that the step is computed with: those change only when all of it
/// is done, and until then it can be taken back as if it had never begun.
/// </summary>
internal sealed class StagedUpdate(Optimizer optimizer, RunWeights weights, VectorChunks chunks)
{
    // The optimizer's own, and of the chunks done what was in them.
    private readonly IReadOnlyList<OptimizerVector> _vectors = optimizer.Vectors;
    private readonly float[][] _before = [.. optimizer.Vectors.Select(static vector => new float[vector.Values.Length])];

    private readonly RunWeights _next = weights.CreateLike();

    /// <summary>What workers are to compute the next step with, of which <see cref="Done"/> chunks are there.</summary>
    public VectorBuffer Next => _next.Shown;

    /// <summary>How many chunks are updated.</summary>
    public int Done { get; private set; }

    /// <summary>Updates the next chunk.</summary>
    /// <param name="gradientSum">P gradients, of which the chunk's are read.</param>
    /// <param name="samples">Over how many samples they are summed.</param>
    public void UpdateChunk(ReadOnlySpan<float> gradientSum, int samples)
    {
        if (Done == 0)
            optimizer.BeginStep();
        (int first, int end) = chunks[Done];
        weights.Master.Values[first..end].CopyTo(_next.Master.Values[first..end]);
        for (int i = 0; i < _before.Length; i++)
            _vectors[i].Values.Span[first..end].CopyTo(_before[i].AsSpan(first));
        Done++;
        _next.UpdateRange(optimizer, gradientSum, samples, first, end);
    }

    /// <summary>The step is over: its weights are the weights.</summary>
    public void Commit()
    {
        if (Done != chunks.Count)
            throw new InvalidOperationException($"{Done} of {chunks.Count} chunks are updated");
        weights.CopyFrom(_next);
        Done = 0;
    }

    /// <summary>Takes back what is done of a step that is not over.</summary>
    /// <param name="steps">How many steps were done before it.</param>
    public void TakeBack(long steps)
    {
        if (Done == 0)
            return;
        int from = chunks[Done - 1].First;
        for (int i = 0; i < _before.Length; i++)
            _before[i].AsSpan(from).CopyTo(_vectors[i].Values.Span[from..]);
        optimizer.SkipTo(steps);
        Done = 0;
    }
}
