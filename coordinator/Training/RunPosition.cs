using System.Text.Json.Serialization;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>What an epoch has come to so far.</summary>
/// <param name="Steps">Steps done in it.</param>
/// <param name="LossSum">Cross-entropy summed over their samples, in nats.</param>
/// <param name="Seconds">Training, over all sittings.</param>
internal readonly record struct EpochSums(int Steps, double LossSum, long Correct, long Samples, double Seconds)
{
    public EpochSums Add(StepTotals step, double seconds) =>
        new(Steps + 1, LossSum + step.LossSum, Correct + step.Correct, Samples + step.Samples, seconds);
}

/// <summary>How far a run has come, between two steps: with the weights and the optimizer's state all that it needs to go on.</summary>
/// <param name="Epoch">Epochs done.</param>
/// <param name="Sums">Of the epoch under way.</param>
/// <param name="StepsPerEpoch">Steps in a whole epoch.</param>
/// <param name="Reports">One for each epoch done, and one for the last should --max-steps have ended the run within it.</param>
/// <param name="Phases">Where the time went.</param>
/// <param name="Seconds">Since the run began, over all sittings.</param>
internal sealed record RunPosition(int Epoch, EpochSums Sums, int StepsPerEpoch, IReadOnlyList<EpochReport> Reports, Phases Phases, double Seconds)
{
    /// <summary>The most workers there have been at a time, in any sitting. 0 in checkpoints of versions that did not keep it.</summary>
    public int Workers { get; init; }

    /// <summary>Leases that passed from one worker to another, over all sittings; as above.</summary>
    public int LeasesMoved { get; init; }

    /// <summary>Steps done, over all epochs.</summary>
    [JsonIgnore]
    public long Steps => ((long)Epoch * StepsPerEpoch) + Sums.Steps;

    /// <summary>For people: the epoch from 1 and the steps done in it.</summary>
    [JsonIgnore]
    public (int Epoch, int Step) Place => Sums.Steps == 0 && Epoch > 0 ? (Epoch, StepsPerEpoch) : (Epoch + 1, Sums.Steps);

    public static RunPosition Start(int stepsPerEpoch) => new(0, default, stepsPerEpoch, [], new Phases(), 0);

    /// <summary>Whether a run with these options has nothing left to do, not even to score the test set.</summary>
    public bool IsEndOf(RunOptions options)
    {
        bool isScored = Reports.Count == (Sums.Steps == 0 ? Epoch : Epoch + 1);
        return Epoch >= options.Epochs || (isScored && Steps >= options.MaxSteps);
    }

    /// <summary>Whether a run with these options would have ended before it came here.</summary>
    public bool IsPast(RunOptions options) => Steps > (long)options.Epochs * StepsPerEpoch || Steps > options.MaxSteps;

    public override string ToString() => $"epoch {Place.Epoch}, step {Place.Step}";
}
