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

    /// <summary>One step of the optimizer; then workers may train on.</summary>
    /// <param name="sum">Over the step's samples.</param>
    public void Update(Optimizer optimizer, Partial sum)
    {
        Span<float> master = Master.Values, shown = Shown.Values;
        if (_precision == WirePrecision.Float32)
        {
            optimizer.Update(master, sum.Gradient.Values, sum.Samples);
            return;
        }

        optimizer.BeginStep();
        for (int first = 0; first < master.Length; first += Block)
        {
            int end = Math.Min(first + Block, master.Length);
            optimizer.UpdateRange(master, sum.Gradient.Values, sum.Samples, first, end);
            Bfloat16.Round(master[first..end], shown[first..end]);
        }
    }
}
