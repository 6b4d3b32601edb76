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
/// <param name="precision">What gradients are rounded to, and travel as.</param>
/// <param name="chunks">How they are cut; null: they travel whole.</param>
/// <param name="connection">What the stream goes over, to send the frames of a vector together; null: each goes by itself.</param>
internal sealed class Outbox(
    PartialPool pool, SharedMemoryLink? shared, WirePrecision precision = WirePrecision.Float32, VectorChunks? chunks = null, ClientStream? connection = null)
{
    private static readonly Frame<WorkerMessage> Heartbeat = Frame.Of(new WorkerMessage { Heartbeat = new Heartbeat() });

    private readonly FramePool<WorkerMessage> _partials = FramePools.Partials();

    private readonly Channel<(Frame<WorkerMessage> Frame, Partial? Lent)> _frames =
        Channel.CreateUnbounded<(Frame<WorkerMessage>, Partial?)>(new UnboundedChannelOptions { SingleReader = true });

    public void SendHeartbeat()
    {
        _frames.Writer.TryWrite((Heartbeat, null));
        connection?.Watch();
    }

    /// <summary>Says goodbye as the last message of all.</summary>
    public void Close(string reason)
    {
        _frames.Writer.TryWrite((Frame.Of(new WorkerMessage { Goodbye = new Goodbye { Reason = reason } }), null));
        _frames.Writer.TryComplete();
    }

    /// <param name="step">Read before this returns; then it may become another's.</param>
    /// <param name="partial">Goes back to the pool when it is written.</param>
    public void SendPartial(StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        if (shared?.TrySend(step, node, partial, compute) == true)
            return;
        Enqueue(step, node, partial, compute, partial.Gradient.Bytes, chunk: 0, partial);
    }

    /// <summary>Sends what has become complete of a partial, chunk by chunk in order.</summary>
    /// <param name="step">As above.</param>
    /// <param name="partial">Goes back to the pool when its last chunk is written.</param>
    /// <param name="chunk">From 0.</param>
    public void SendChunk(StepId step, TreeNode node, Partial partial, int chunk, TimeSpan compute) =>
        Enqueue(step, node, partial, compute, chunks!.Of(partial.Gradient, chunk), chunk + 1, chunk == chunks.Count - 1 ? partial : null);

    /// <param name="step">As above.</param>
    public void SendBlock(StepId step, int block, double lossSum, int correct, byte[] predictions)
    {
        WorkerMessage message = new()
        {
            BlockResult = new BlockResult
            {
                Id = step.Clone(),
                Block = (uint)block,
                LossSum = lossSum,
                Correct = (uint)correct,
                Predictions = UnsafeByteOperations.UnsafeWrap(predictions),
            },
        };
        if (shared?.TrySend(message) != true)
            _frames.Writer.TryWrite((Frame.Of(message), null));
    }

    /// <summary>Writes until <see cref="Close"/>; then ends the worker's side of the stream.</summary>
    public async Task WriteToAsync(IClientStreamWriter<Frame<WorkerMessage>> stream, CancellationToken cancellation)
    {
        // A channel that is waited for with a token allocates each time.
        await using CancellationTokenRegistration cancelling = cancellation.Register(() => _frames.Writer.TryComplete(new OperationCanceledException(cancellation)));
        while (await _frames.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
        {
            while (_frames.Reader.TryRead(out (Frame<WorkerMessage> Frame, Partial? Lent) next))
            {
                ClientStream? holding = next.Frame.Size > ClientStream.FrameLength ? connection : null;
                holding?.Hold();
                try
                {
                    // The message is in gRPC's own buffer, or gone, when this returns.
                    await stream.WriteAsync(next.Frame, cancellation).ConfigureAwait(false);
                }
                catch
                {
                    // What the client has to say of that must get out.
                    holding?.Abandon();
                    throw;
                }

                if (holding is not null)
                    await holding.ReleaseAsync(cancellation).ConfigureAwait(false);
                next.Frame.Release();
                if (next.Lent is not null)
                    pool.Return(next.Lent);
            }
        }

        await stream.CompleteAsync().ConfigureAwait(false);
    }

    /// <param name="chunk">From 1; 0: the whole.</param>
    /// <param name="lent">Goes back to the pool when this is written.</param>
    private void Enqueue(StepId step, TreeNode node, Partial partial, TimeSpan compute, ReadOnlyMemory<byte> vector, int chunk, Partial? lent)
    {
        Frame<WorkerMessage> frame = _partials.Rent();
        PartialMessage.Fill(frame.Message.Partial, step, node, partial, compute);
        frame.Message.Partial.Chunk = (uint)chunk;
        frame.Carry(vector, precision == WirePrecision.Bf16);
        _frames.Writer.TryWrite((frame, lent));
    }
}
