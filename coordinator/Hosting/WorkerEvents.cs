using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Hosting;

/// <summary>What a worker's answers are to the step loop, by whatever way they came.</summary>
internal static class WorkerEvents
{
    /// <returns>Null if it is no score of a block of the test set, or not in order.</returns>
    public static BlockArrived? ReadBlock(int worker, WorkerMessage message) => message is { BlockResult: { Id: { } id } result }
        ? new BlockArrived(worker, FromWire(id), (int)result.Block, result.LossSum, (int)result.Correct, result.Predictions.Memory)
        : null;

    /// <summary>Makes an event of a partial that has an id.</summary>
    /// <param name="gradient">P float32 values, little-endian, or a chunk of them.</param>
    public static void Fill(PartialArrived arrived, Protos.Partial partial, ReadOnlyMemory<byte> gradient)
    {
        arrived.Order = FromWire(partial.Id);
        arrived.Node = TreeNode.FromCode(partial.Node);
        arrived.Gradient = gradient;
        arrived.Chunk = partial.Chunk == 0 ? null : (int)Math.Min(partial.Chunk, int.MaxValue) - 1;
        arrived.LossSum = partial.LossSum;
        arrived.Correct = (int)partial.Correct;
        arrived.Samples = (int)partial.Samples;
        arrived.Compute = TimeSpan.FromMicroseconds(partial.ComputeMicroseconds);
    }

    private static OrderId FromWire(StepId id) => new(id.Run, (long)id.MembershipVersion, (int)id.Epoch, (int)id.Step);
}
