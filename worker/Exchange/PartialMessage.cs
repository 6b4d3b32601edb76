using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Worker.Exchange;

/// <summary>What is said of a partial, whichever way its gradient goes.</summary>
internal static class PartialMessage
{
    /// <param name="compute">From the arrival of the order to the partial's completion.</param>
    public static void Fill(Protos.Partial message, Protos.StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        message.Id ??= new Protos.StepId();
        (message.Id.Run, message.Id.MembershipVersion, message.Id.Epoch, message.Id.Step) = (step.Run, step.MembershipVersion, step.Epoch, step.Step);
        message.Node = node.Code;
        message.LossSum = partial.LossSum;
        message.Correct = (uint)partial.Correct;
        message.Samples = (uint)partial.Samples;
        message.ComputeMicroseconds = (uint)compute.TotalMicroseconds;
    }
}
