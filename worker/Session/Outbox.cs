using System.Threading.Channels;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Exchange;
using Google.Protobuf;
using Grpc.Core;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Worker.Session;

/// <summary>Messages on their way to the coordinator, written in order by one loop: a gRPC stream takes one writer at a time.</summary>
/// <param name="shared">The shorter way for answers, where there is one.</param>
internal sealed class Outbox(PartialPool pool, SharedMemoryLink? shared)
{
    private static readonly WorkerMessage Heartbeat = new() { Heartbeat = new Heartbeat() };

    private readonly Channel<(WorkerMessage Message, Partial? Lent)> _messages =
        Channel.CreateUnbounded<(WorkerMessage, Partial?)>(new UnboundedChannelOptions { SingleReader = true });

    public void SendHeartbeat() => _messages.Writer.TryWrite((Heartbeat, null));

    /// <summary>Says goodbye as the last message of all.</summary>
    public void Close(string reason)
    {
        _messages.Writer.TryWrite((new WorkerMessage { Goodbye = new Goodbye { Reason = reason } }, null));
        _messages.Writer.TryComplete();
    }

    /// <param name="partial">Goes back to the pool when it is written.</param>
    public void SendPartial(StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        WorkerMessage message = new()
        {
            Partial = new Protos.Partial
            {
                Id = step,
                Node = new Node { Level = (uint)node.Level, Index = (uint)node.Index },
                LossSum = partial.LossSum,
                Correct = (uint)partial.Correct,
                Samples = (uint)partial.Samples,
                ComputeMicroseconds = (uint)compute.TotalMicroseconds,
            },
        };
        if (shared?.TrySend(message, partial) == true)
            return;
        message.Partial.Gradient = TrainingWire.Wrap(partial.Gradient.Bytes);
        _messages.Writer.TryWrite((message, partial));
    }

    public void SendBlock(StepId step, int block, double lossSum, int correct, byte[] predictions)
    {
        WorkerMessage message = new()
        {
            BlockResult = new BlockResult
            {
                Id = step,
                Block = (uint)block,
                LossSum = lossSum,
                Correct = (uint)correct,
                Predictions = UnsafeByteOperations.UnsafeWrap(predictions),
            },
        };
        if (shared?.TrySend(message) != true)
            _messages.Writer.TryWrite((message, null));
    }

    /// <summary>Writes until <see cref="Close"/>; then ends the worker's side of the stream.</summary>
    public async Task WriteToAsync(IClientStreamWriter<WorkerMessage> stream, CancellationToken cancellation)
    {
        await foreach ((WorkerMessage message, Partial? lent) in _messages.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            // The message is in gRPC's own buffer when this returns.
            await stream.WriteAsync(message, cancellation).ConfigureAwait(false);
            if (lent is not null)
                pool.Return(lent);
        }

        await stream.CompleteAsync().ConfigureAwait(false);
    }
}
