using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Hosting;

/// <summary>What a worker's answers are to the step loop, by whatever way they came.</summary>
internal static class WorkerEvents
{
    /// <param name="gradient">A partial's gradient: P float32 values, little-endian.</param>
    /// <returns>Null if it is no answer, or not in order.</returns>
    public static RunEvent? Read(int worker, WorkerMessage message, ReadOnlyMemory<byte> gradient) => message switch
    {
        { Partial: { Id: { } id, Node: { } node } partial } => new PartialArrived(
            worker,
            FromWire(id),
            new TreeNode((int)node.Level, (int)node.Index),
            gradient,
            partial.LossSum,
            (int)partial.Correct,
            (int)partial.Samples,
            TimeSpan.FromMicroseconds(partial.ComputeMicroseconds)),
        { BlockResult: { Id: { } id } result } => new BlockArrived(worker, FromWire(id), (int)result.Block, result.LossSum, (int)result.Correct, result.Predictions.Memory),
        _ => null,
    };

    private static OrderId FromWire(StepId id) => new(id.RunId, (long)id.MembershipVersion, (int)id.Epoch, (int)id.Step);
}
