using System.Runtime.CompilerServices;
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

    /// <param name="step">Read before this returns.</param>
    /// <param name="partial">Goes back to the pool when it is written.</param>
    public void SendPartial(StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        if (shared?.TrySend(step, node, partial, compute) == true)
            return;
        Enqueue(Describe(step, node, partial, compute), partial.Gradient.Bytes, partial);
    }

    /// <summary>Sends what has become complete of a partial, chunk by chunk in order.</summary>
    /// <param name="step">Read before this returns.</param>
    /// <param name="partial">Goes back to the pool when its last chunk is written.</param>
    /// <param name="chunk">From 0.</param>
    public void SendChunk(StepId step, TreeNode node, Partial partial, int chunk, TimeSpan compute)
    {
        WorkerMessage message = Describe(step, node, partial, compute);
        message.Partial.Chunk = (uint)chunk + 1;
        Enqueue(message, chunks!.Of(partial.Gradient, chunk), chunk == chunks.Count - 1 ? partial : null);
    }

    /// <param name="step">Read before this returns.</param>
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
        await foreach ((Frame<WorkerMessage> frame, Partial? lent) in _frames.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            // The message is in gRPC's own buffer, or gone, when this returns.
            if (connection is not null && frame.Size > ClientStream.FrameLength)
                await WriteTogetherAsync(connection, stream, frame, cancellation).ConfigureAwait(false);
            else
                await stream.WriteAsync(frame, cancellation).ConfigureAwait(false);
            if (lent is not null)
                pool.Return(lent);
        }

        await stream.CompleteAsync().ConfigureAwait(false);
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private static async ValueTask WriteTogetherAsync(
        ClientStream connection, IClientStreamWriter<Frame<WorkerMessage>> stream, Frame<WorkerMessage> frame, CancellationToken cancellation)
    {
        connection.Hold();
        try
        {
            await stream.WriteAsync(frame, cancellation).ConfigureAwait(false);
        }
        catch
        {
            // What the client has to say of that must get out.
            connection.Abandon();
            throw;
        }

        await connection.ReleaseAsync(cancellation).ConfigureAwait(false);
    }

    private static WorkerMessage Describe(StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        WorkerMessage message = new() { Partial = new Protos.Partial() };
        PartialMessage.Fill(message.Partial, step.Clone(), node, partial, compute);
        return message;
    }

    private void Enqueue(WorkerMessage message, ReadOnlyMemory<byte> vector, Partial? lent) =>
        _frames.Writer.TryWrite((new Frame<WorkerMessage>(message, vector, precision == WirePrecision.Bf16), lent));
}
