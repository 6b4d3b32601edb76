using System.Collections.Immutable;
using Distributed.Coordinator.Training;
using Distributed.Reduction;

namespace Distributed.Coordinator.Members;

/// <summary>
/// The coordinator's end of the exchange with one worker. Sending never waits: what is sent is on its way in order.
/// Answers arrive as events in the <see cref="RunInbox"/>. All of it is the step loop's.
/// </summary>
internal interface IWorkerLink
{
    /// <summary>Who it is.</summary>
    Member Member { get; }

    /// <summary>How long nothing has been heard from it.</summary>
    TimeSpan Silence { get; }

    /// <summary>Bytes of messages to the worker.</summary>
    long BytesSent => 0;

    /// <summary>Bytes of messages from it.</summary>
    long BytesReceived => 0;

    /// <summary>Tells the worker everything about the run.</summary>
    void Welcome(RunDefinition run, long membershipVersion);

    /// <summary>The worker is ready: settles how orders and answers travel.</summary>
    /// <param name="sharesMemory">It has opened the shared memory that it was offered.</param>
    /// <returns>Where its answers turn up, if not among the inbox's own events.</returns>
    IEventSource? Settle(bool sharesMemory);

    /// <summary>Whether vectors of steps go to it, and come from it, in chunks.</summary>
    bool TakesChunks => false;

    /// <summary>
    /// Sends a chunk of the weights of a step that will be ordered, if it <see cref="TakesChunks"/>. The first chunk takes back what was
    /// sent before.
    /// </summary>
    /// <param name="order">That step's, but for the membership's version.</param>
    /// <param name="weights">P parameters, of which the chunk's are left as they are until the worker has answered that step's order, or <see cref="ForgetWeights"/>.</param>
    /// <param name="chunk">From 0, in order.</param>
    void SendWeights(OrderId order, VectorBuffer weights, int chunk)
    {
    }

    /// <summary>What was sent in chunks may change before it is written: the next order is to bring its weights whole.</summary>
    void ForgetWeights()
    {
    }

    /// <summary>Orders partials, and sends the shards below them that the worker has not got yet.</summary>
    /// <param name="weights">P parameters, rounded as the run's wire demands; left as they are until the step is complete.</param>
    void OrderStep(OrderId order, VectorBuffer weights, ImmutableArray<TreeNode> nodes);

    /// <summary>Orders scores, and sends the blocks that the worker has not got yet.</summary>
    /// <param name="weights">P parameters; they travel as float32, whatever the run's wire.</param>
    void OrderEvaluation(OrderId order, VectorBuffer weights, EvaluationLedger ledger, ImmutableArray<int> blocks);

    /// <summary>Lets the worker go once it has done what it was ordered.</summary>
    void Drain(string reason);

    /// <summary>Cuts the connection. The worker may come again as a new one.</summary>
    void Close(string reason);
}
