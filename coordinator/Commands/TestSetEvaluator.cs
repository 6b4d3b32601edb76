using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>What a model makes of a test set.</summary>
/// <param name="Loss">Mean cross-entropy in nats.</param>
/// <param name="Correct">Images whose most probable class is their label.</param>
/// <param name="Predictions">The most probable class of each image.</param>
internal sealed record Evaluation(double Loss, int Correct, byte[] Predictions)
{
    public double Accuracy => (double)Correct / Predictions.Length;
}

/// <summary>Runs a model over a test set on this machine, every image once.</summary>
internal static class TestSetEvaluator
{
    private const int Microbatch = 8;

    /// <summary>Evaluates on a number of threads; the result's bits do not depend on it, since microbatches are summed in file order.</summary>
    public static Evaluation Evaluate(ResolvedModel model, ReadOnlyMemory<float> parameters, ImageSet images, int threads, CancellationToken cancellation)
    {
        using Network network = Network.Compile(model, Microbatch, InstructionSets.Best);
        network.Prepare(parameters.Span);
        int batches = (images.Count + Microbatch - 1) / Microbatch;
        MicrobatchResult[] results = new MicrobatchResult[batches];
        byte[] predictions = new byte[images.Count];
        Parallel.For(
            0,
            Math.Min(threads, batches),
            new ParallelOptions { MaxDegreeOfParallelism = threads, CancellationToken = cancellation },
            thread =>
            {
                using Executor executor = network.CreateExecutor();
                for (int batch = thread; batch < batches && !cancellation.IsCancellationRequested; batch += threads)
                    results[batch] = Run(executor, images, batch * Microbatch, predictions);
            });
        cancellation.ThrowIfCancellationRequested();
        return new Evaluation(results.Sum(static result => result.LossSum) / images.Count, results.Sum(static result => result.Correct), predictions);
    }

    private static MicrobatchResult Run(Executor executor, ImageSet images, int first, byte[] predictions)
    {
        int count = Math.Min(Microbatch, images.Count - first);
        int length = images.Shape.Length;
        for (int i = 0; i < count; i++)
            images.CopyScaled(first + i, executor.Images.Slice(i * length, length));
        return executor.Evaluate(images.Labels.AsSpan(first, count), predictions.AsSpan(first, count));
    }
}
