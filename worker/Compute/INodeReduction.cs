using Distributed.Engine;
using Distributed.Reduction;

namespace Distributed.Worker.Compute;

/// <summary>Takes the gradients of one node at a time up the reduction tree, while a thread computes it.</summary>
internal interface INodeReduction : IBackwardObserver
{
    /// <summary>Another node begins.</summary>
    /// <param name="partial">Gets its gradient; the reduction's when the pass has ended.</param>
    void Begin(TreeNode node, Partial partial, int samples);
}
