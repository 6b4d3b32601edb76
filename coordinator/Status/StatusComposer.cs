using Distributed.Coordinator.Commands;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Reduction;

namespace Distributed.Coordinator.Status;

/// <summary>Puts into documents what a <see cref="RunMonitor"/> has seen. Reads only; any thread.</summary>
internal sealed class StatusComposer(RunMonitor monitor)
{
    /// <summary>Images that were answered wrongly, at most so many in a result: 100 of MNIST are 100 KB.</summary>
    public const int MostMistakes = 100;

    // One reference, swapped whole: requests come on several threads.
    private KnownResult? _result;

    public StatusDocument Status()
    {
        RunPicture picture = monitor.Picture;
        RunDefinition? run = monitor.Run;
        RunSnapshot position = picture.Position;
        EpochReport? last = picture.History.LastOrDefault();
        RunState state = monitor.State;
        bool isUnderWay = state is RunState.Training or RunState.Evaluating;
        WorkerDocument[] workers = [.. monitor.Workers.Select(worker => Describe(worker, picture))];
        long done = run is null || position.Epoch == 0 ? 0 : ((long)(position.Epoch - 1) * run.Plan.StepsPerEpoch) + position.Step;
        double rate = state == RunState.Completed ? last?.ImagesPerSecond ?? 0
            : isUnderWay ? picture.ImagesPerSecond
            : 0;
        return new StatusDocument(
            run?.RunId,
            monitor.Started,
            state,
            picture.Failure,
            monitor.Options.Model,
            run?.Dataset.Source,
            run?.Model.ParameterCount,
            monitor.Options.Wire.Word(),
            position.Epoch,
            monitor.Options.Epochs,
            position.Step,
            run?.Plan.StepsPerEpoch,
            done,
            run?.TotalSteps,
            position.Step > 0 ? position.Loss : null,
            position.Step > 0 ? position.Accuracy : null,
            last?.TestLoss,
            last?.TestAccuracy,
            rate,
            monitor.Elapsed.TotalSeconds,
            run is not null && isUnderWay ? Remaining(run, picture, done) : null,
            picture.Membership?.Version ?? 0,
            last?.WeightsSha256,
            workers,
            [.. picture.History.Select(static epoch => new HistoryDocument(
                epoch.Epoch, epoch.Steps, epoch.Samples, epoch.Seconds, epoch.ImagesPerSecond, epoch.Loss, epoch.Accuracy, epoch.TestLoss, epoch.TestAccuracy, epoch.WeightsSha256))],
            monitor.Checkpoints() is { } checkpoint
                ? new CheckpointDocument(
                    checkpoint.Path, checkpoint.Epoch, checkpoint.Step, checkpoint.Path is null ? null : checkpoint.Time, checkpoint.Seconds * 1000, checkpoint.Bytes, checkpoint.LastError)
                : null,
            [.. monitor.Journal.Latest().Select(static entry => new EventDocument(entry.Number, entry.Time, entry.Kind, entry.Worker, entry.Text))]);
    }

    /// <summary>How the test set was answered last; null before the first epoch's end.</summary>
    public ResultDocument? Result()
    {
        RunPicture picture = monitor.Picture;
        if (monitor.Run is not { } run || picture.Test is not { } test || picture.History.IsEmpty)
            return null;
        if (Volatile.Read(ref _result) is { } known && ReferenceEquals(known.Test, test))
            return known.Document;
        ResultDocument document = Describe(run.Dataset, test, picture.History[^1].Epoch);
        Volatile.Write(ref _result, new KnownResult(test, document));
        return document;
    }

    private static ResultDocument Describe(Dataset dataset, EvaluationResult test, int epoch)
    {
        ImageSet images = dataset.Test;
        ConfusionMatrix matrix = new(images.Labels, test.Predictions, dataset.Classes);
        List<MistakeDocument> mistakes = [];
        int wrong = 0;
        for (int i = 0; i < images.Count; i++)
        {
            if (images.Labels[i] == test.Predictions[i])
                continue;
            wrong++;
            if (mistakes.Count < MostMistakes)
                mistakes.Add(new MistakeDocument(i, images.Labels[i], test.Predictions[i], images.Image(i).ToArray()));
        }

        int[][] counts = [.. Enumerable.Range(0, dataset.Classes).Select(label =>
            Enumerable.Range(0, dataset.Classes).Select(prediction => matrix[label, prediction]).ToArray())];
        return new ResultDocument(
            epoch, images.Count, test.Loss, test.Accuracy, counts, wrong, images.Shape.Height, images.Shape.Width, images.Shape.Channels, mistakes);
    }

    private static WorkerDocument Describe(WorkerMonitor worker, RunPicture picture)
    {
        Member member = worker.Member;
        WorkerTotals recent = worker.Figures.Recent;
        int[] shards = picture.Membership is { } membership && !worker.IsLost
            ? [.. Enumerable.Range(0, membership.Leases.Length).Where(shard => membership.Leases[shard] == member.Id)]
            : [];
        WorkerState state = worker.IsLost ? WorkerState.Lost
            : picture.State == RunState.Completed ? WorkerState.Done
            : shards.Length > 0 ? WorkerState.Active
            : WorkerState.Spare;
        double steps = Math.Max(1, recent.Steps);
        return new WorkerDocument(
            member.Id,
            member.Name,
            member.Address,
            state,
            member.Threads,
            member.InstructionSet,
            member.Exchange,
            shards,
            worker.Figures.Totals.Steps,
            state is WorkerState.Active or WorkerState.Done && recent.Training > TimeSpan.Zero ? recent.Images / recent.Training.TotalSeconds : 0,
            recent.Step.TotalMilliseconds / steps,
            recent.Compute.TotalMilliseconds / steps,
            recent.Exchange.TotalMilliseconds / steps,
            recent.Wait.TotalMilliseconds / steps,
            worker.BytesSent,
            worker.BytesReceived,
            worker.Silence.TotalMilliseconds);
    }

    /// <summary>Seconds for the steps and evaluations still to come, at this run's mean pace.</summary>
    private double? Remaining(RunDefinition run, RunPicture picture, long done)
    {
        if (monitor.Steps == 0)
            return null;
        double steps = (run.TotalSteps - done) * monitor.TrainingTime.TotalSeconds / monitor.Steps;
        long epochs = (run.TotalSteps + run.Plan.StepsPerEpoch - 1) / run.Plan.StepsPerEpoch;
        double evaluation = monitor.Evaluations > 0 ? monitor.EvaluationTime.TotalSeconds / monitor.Evaluations : 0;
        return steps + (Math.Max(0, epochs - picture.History.Length) * evaluation);
    }

    private sealed record KnownResult(EvaluationResult Test, ResultDocument Document);
}
