using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>
/// The weights of a run: what the optimizer updates, which is float32 always, and what workers compute with, which are the same
/// values rounded as --wire demands, whichever way they travel.
/// </summary>
internal sealed class RunWeights
{
    // Of a length that stays in the cache from the update to the rounding; a multiple of every row of lanes.
    private const int Block = 4096;

    private readonly WirePrecision _precision;

    /// <param name="parameters">P.</param>
    /// <param name="shown">Where workers are to find them, P values; null: anywhere.</param>
    public RunWeights(WirePrecision precision, int parameters, VectorBuffer? shown)
    {
        _precision = precision;
        Shown = shown ?? new VectorBuffer(parameters);
        Master = precision == WirePrecision.Float32 ? Shown : new VectorBuffer(parameters);
    }

    /// <summary>P parameters as the optimizer has them: what is kept, scored and saved.</summary>
    public VectorBuffer Master { get; }

    /// <summary>P parameters for workers: of a step, rounded; of an evaluation, the master weights. No order may be open when that changes.</summary>
    public VectorBuffer Shown { get; }

    /// <summary>Workers are to train.</summary>
    public void ShowRounded()
    {
        if (_precision == WirePrecision.Bf16)
            Bfloat16.Round(Master.Values, Shown.Values);
    }

    /// <summary>Workers are to score the test set.</summary>
    public void ShowMaster()
    {
        if (_precision == WirePrecision.Bf16)
            Master.Values.CopyTo(Shown.Values);
    }

    /// <summary>Room for other weights of the same run.</summary>
    public RunWeights CreateLike() => new(_precision, Master.Length, null);

    /// <summary>Makes these the same as others of the run.</summary>
    public void CopyFrom(RunWeights other)
    {
        other.Master.Values.CopyTo(Master.Values);
        if (Shown != Master)
            other.Shown.Values.CopyTo(Shown.Values);
    }

    /// <summary>One step of the optimizer; then workers may train on.</summary>
    /// <param name="sum">Over the step's samples.</param>
    public void Update(Optimizer optimizer, Partial sum)
    {
        optimizer.BeginStep();
        UpdateRange(optimizer, sum.Gradient.Values, sum.Samples, 0, Master.Length);
    }

    /// <summary>The weights [first, end) of a step that the optimizer has begun, with what workers see of them.</summary>
    /// <param name="gradientSum">P gradients, summed over the step's samples.</param>
    /// <param name="samples">How many samples that was.</param>
    /// <param name="first">From 0; <paramref name="end"/> is at most P.</param>
    public void UpdateRange(Optimizer optimizer, ReadOnlySpan<float> gradientSum, int samples, int first, int end)
    {
        Span<float> master = Master.Values, shown = Shown.Values;
        if (_precision == WirePrecision.Float32)
        {
            optimizer.UpdateRange(master, gradientSum, samples, first, end);
            return;
        }

        for (; first < end; first += Block)
        {
            int next = Math.Min(first + Block, end);
            optimizer.UpdateRange(master, gradientSum, samples, first, next);
            Bfloat16.Round(master[first..next], shown[first..next]);
        }
    }
}
