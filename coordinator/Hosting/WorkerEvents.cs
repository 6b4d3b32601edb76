using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Hosting;

/// <summary>What a worker's answers are to the step loop, by whatever way they came.</summary>
internal static class WorkerEvents
{
    /// <param name="gradient">A partial's gradient: P float32 values, little-endian, or a chunk of them.</param>
    /// <param name="wire">What it has travelled as; null: it lies in shared memory.</param>
    /// <returns>Null if it is no answer, or not in order.</returns>
    public static RunEvent? Read(int worker, WorkerMessage message, ReadOnlyMemory<byte> gradient, WirePrecision? wire)
    {
        switch (message)
        {
            case { Partial: { Id: not null } partial }:
                PartialArrived arrived = new(worker) { Wire = wire };
                Fill(arrived, partial, gradient);
                return arrived;
            case { BlockResult: { Id: { } id } result }:
                return new BlockArrived(worker, FromWire(id), (int)result.Block, result.LossSum, (int)result.Correct, result.Predictions.Memory);
            default:
                return null;
        }
    }

    /// <summary>Makes an event of a partial that has an id.</summary>
    /// <param name="gradient">As above.</param>
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
