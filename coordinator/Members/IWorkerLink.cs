using System.Collections.Immutable;
using Distributed.Coordinator.Training;
using Distributed.Reduction;

namespace Distributed.Coordinator.Members;

/// <summary>
/// The coordinator's end of the exchange with one worker. Sending never waits: what is sent is on its way in order.
/// Answers arrive as events in the <see cref="RunInbox"/>.
/// </summary>
internal interface IWorkerLink
{
    /// <summary>Who it is; the name may be changed on joining.</summary>
    Member Member { get; }

    /// <summary>How long nothing has been heard from it.</summary>
    TimeSpan Silence { get; }

    /// <summary>Bytes of messages to the worker.</summary>
    long BytesSent => 0;

    /// <summary>Bytes of messages from it.</summary>
    long BytesReceived => 0;

    /// <summary>Tells the worker everything about the run.</summary>
    void Welcome(RunDefinition run, long membershipVersion);

    /// <summary>Orders partials, and sends the shards below them that the worker has not got yet.</summary>
    /// <param name="weights">P parameters; left as they are until the step is complete.</param>
    void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes);

    /// <summary>Orders scores, and sends the blocks that the worker has not got yet.</summary>
    void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks);

    /// <summary>Lets the worker go once it has done what it was ordered.</summary>
    void Drain(string reason);

    /// <summary>Cuts the connection. The worker may come again as a new one.</summary>
    void Close(string reason);
}
