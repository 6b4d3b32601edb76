using System.Collections.Immutable;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Reduction;

namespace Distributed.Tests.Status;

/// <summary>A link to a worker that is never asked for anything.</summary>
internal sealed class FakeLink(Member member) : IWorkerLink
{
    public Member Member { get; } = member;

    public TimeSpan Silence => TimeSpan.FromMilliseconds(12);

    public long BytesSent => 34;

    public long BytesReceived => 56;

    public void Welcome(RunDefinition run, long membershipVersion) => throw new NotSupportedException();

    public IEventSource? Settle(bool sharesMemory) => null;

    public void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes) => throw new NotSupportedException();

    public void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks) => throw new NotSupportedException();

    public void Drain(string reason)
    {
    }

    public void Close(string reason)
    {
    }
}
