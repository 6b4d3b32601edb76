using Distributed.Coordinator.Members;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>Something that happened and that the step loop must hear of.</summary>
internal abstract record RunEvent
{
    /// <summary>Given back when the event has been handled: what keeps a worker from filling the inbox.</summary>
    public SemaphoreSlim? Credit { get; set; }

    /// <summary>What the event's data are in, disposed of with it.</summary>
    public IDisposable? Lent { get; set; }
}

/// <summary>A worker has said hello and waits for its welcome.</summary>
internal sealed record WorkerCalled(IWorkerLink Link) : RunEvent;

/// <summary>A welcomed worker has compiled the model: it is a member from now on.</summary>
/// <param name="SharesMemory">It has opened the shared memory that it was offered.</param>
internal sealed record WorkerReady(int Worker, bool SharesMemory = false) : RunEvent;

/// <summary>A welcomed worker says that it cannot take part.</summary>
internal sealed record WorkerDeclined(int Worker, string Reason) : RunEvent;

/// <summary>A worker's stream has ended, whoever ended it.</summary>
internal sealed record WorkerLeft(int Worker, string Reason) : RunEvent;

/// <summary>A local worker process has ended before it was told to.</summary>
/// <param name="ExitCode">Null: it could not be started.</param>
/// <param name="Description">What it did, for a sentence that begins with its name.</param>
internal sealed record LocalWorkerExited(string Name, int? ExitCode, string Description) : RunEvent;

/// <summary>Time to look who has been silent.</summary>
internal sealed record HeartbeatDue : RunEvent;

/// <summary>A worker's partial, as it came.</summary>
/// <remarks>Valid while the event is handled: the next may be the same object.</remarks>
internal sealed record PartialArrived(int Worker) : RunEvent
{
    public OrderId Order { get; set; }

    public TreeNode Node { get; set; }

    /// <summary>P float32 values, little-endian, or a chunk of them.</summary>
    public ReadOnlyMemory<byte> Gradient { get; set; }

    /// <summary>Memory with the gradient in it that may be exchanged for other memory; null: it must be copied.</summary>
    public PooledVector? Exchangeable { get; set; }

    /// <summary>Which chunk of the gradient this is, from 0, in order; null: all of it.</summary>
    public int? Chunk { get; set; }

    /// <summary>What the gradient has travelled as; null: it has not, it lies in shared memory.</summary>
    public WirePrecision? Wire { get; set; }

    public double LossSum { get; set; }

    public int Correct { get; set; }

    public int Samples { get; set; }

    /// <summary>From the order's arrival at the worker to the partial's completion.</summary>
    public TimeSpan Compute { get; set; }
}

/// <summary>A worker's score of a block of the test set.</summary>
internal sealed record BlockArrived(int Worker, OrderId Order, int Block, double LossSum, int Correct, ReadOnlyMemory<byte> Predictions) : RunEvent;

/// <summary>Which order of the coordinator an answer belongs to.</summary>
internal readonly record struct OrderId(ulong Run, long MembershipVersion, int Epoch, int Step);
