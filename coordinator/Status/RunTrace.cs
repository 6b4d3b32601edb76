using System.Diagnostics;

namespace Distributed.Coordinator.Status;

/// <summary>
/// Spans of a run: each epoch, each evaluation, and one step a second. A step is some milliseconds; a span for each would
/// be gigabytes a day that nobody reads.
/// </summary>
internal static class RunTrace
{
    public const string SourceName = "Distributed.Coordinator";

    private static readonly TimeSpan StepInterval = TimeSpan.FromSeconds(1);
    private static readonly ActivitySource Source = new(SourceName);
    private static long s_lastStep;

    /// <summary>Null where nobody listens.</summary>
    public static Activity? StartEpoch(int epoch) => Source.StartActivity("epoch")?.SetTag("training.epoch", epoch);

    public static Activity? StartEvaluation(int epoch) => Source.StartActivity("evaluate")?.SetTag("training.epoch", epoch);

    /// <summary>Null for nearly all steps.</summary>
    public static Activity? StartStep(int epoch, int step, int workers)
    {
        if (!Source.HasListeners() || (s_lastStep != 0 && Stopwatch.GetElapsedTime(s_lastStep) < StepInterval))
            return null;
        s_lastStep = Stopwatch.GetTimestamp();
        return Source.StartActivity("step")?.SetTag("training.epoch", epoch).SetTag("training.step", step).SetTag("training.workers", workers);
    }
}
