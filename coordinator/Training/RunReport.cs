namespace Distributed.Coordinator.Training;

/// <summary>What an epoch came to.</summary>
/// <param name="Epoch">From 1.</param>
/// <param name="Steps">Steps made in it; fewer than <paramref name="StepsPerEpoch"/> where --max-steps ended the run.</param>
/// <param name="Samples">Samples trained on in it, each counted once.</param>
/// <param name="Seconds">Training and evaluation.</param>
/// <param name="ImagesPerSecond">Of training alone.</param>
/// <param name="Loss">Mean cross-entropy over the epoch's samples as they were trained on, in nats.</param>
/// <param name="WeightsSha256">Of the weights at its end.</param>
internal sealed record EpochReport(
    int Epoch,
    int Steps,
    int StepsPerEpoch,
    long Samples,
    double Seconds,
    double ImagesPerSecond,
    double Loss,
    double Accuracy,
    double TestLoss,
    double TestAccuracy,
    string WeightsSha256);

/// <summary>Where the time of a run went, in seconds, as the coordinator sees it; the phases follow one another.</summary>
internal sealed record Phases
{
    /// <summary>Workers computing, their mean.</summary>
    public double Compute { get; set; }

    /// <summary>From the orders to the last partial added, less the slowest worker's computing.</summary>
    public double Exchange { get; set; }

    /// <summary>The optimizer.</summary>
    public double Update { get; set; }

    /// <summary>Workers idle because another was slower: the slowest's computing less the mean.</summary>
    public double Wait { get; set; }

    /// <summary>Scoring the test set.</summary>
    public double Evaluate { get; set; }
}

/// <summary>What a run came to.</summary>
/// <param name="Test">Null where this sitting had nothing to score.</param>
internal sealed record RunResult(
    IReadOnlyList<EpochReport> Epochs,
    EvaluationResult? Test,
    float[] Weights,
    string WeightsSha256,
    int Workers,
    int LeasesMoved,
    int StaleAnswers,
    Phases Phases)
{
    public EpochReport? LastEpoch => Epochs is [.., EpochReport last] ? last : null;
}

/// <summary>Hears how a run goes. Called by the step loop, which waits for it.</summary>
internal interface IRunObserver
{
    /// <param name="epoch">From 1.</param>
    void EpochStarted(int epoch, int epochs, RunProgress progress);

    void EpochEnded(EpochReport report);
}

/// <summary>A moment of a run: immutable, published whole.</summary>
internal sealed record RunSnapshot(int Epoch, int Step, int StepsPerEpoch, double Loss, double Accuracy, double ImagesPerSecond)
{
    public static RunSnapshot Start { get; } = new(0, 0, 0, 0, 0, 0);
}

/// <summary>The latest snapshot, for readers on any thread; the step loop never waits for them.</summary>
internal sealed class RunProgress
{
    private RunSnapshot _latest = RunSnapshot.Start;

    public RunSnapshot Latest
    {
        get => Volatile.Read(ref _latest);
        set => Volatile.Write(ref _latest, value);
    }
}
