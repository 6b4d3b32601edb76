using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;

namespace Distributed.Coordinator.Hosting;

/// <summary>Takes workers' calls: shakes hands, then turns what they send into events for the step loop.</summary>
internal sealed class TrainingService(RunInbox inbox, RunOptions options, ILogger<TrainingService> log) : Protos.Training.TrainingBase
{
    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);
    private static int s_lastId;

    public override async Task Join(
        IAsyncStreamReader<WorkerMessage> requestStream, IServerStreamWriter<CoordinatorMessage> responseStream, ServerCallContext context)
    {
        if (await ReadHelloAsync(requestStream, context.CancellationToken).ConfigureAwait(false) is not { } hello)
            return;
        if (Refuse(hello) is { } refusal)
        {
            Log.Refused(log, hello.Name, context.Peer, refusal);
            await responseStream.WriteAsync(new CoordinatorMessage { Refusal = new Refusal { Reason = refusal } }).ConfigureAwait(false);
            return;
        }

        Member member = new(Interlocked.Increment(ref s_lastId), hello.Name, (int)hello.Threads, hello.InstructionSet, context.Peer);
        using GrpcWorkerLink link = new(member);
        inbox.Post(new WorkerJoined(link));
        using CancellationTokenSource call = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, link.Closed);
        Task writing = link.WriteToAsync(responseStream, options.HeartbeatInterval, call.Token);
        string reason = "the connection broke";
        try
        {
            reason = await ReadAsync(requestStream, link, call.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException or InvalidOperationException or RpcException)
        {
            // Whatever broke, the worker is gone; the loop below says why.
            reason = link.CloseReason ?? reason;
        }
        finally
        {
            inbox.Post(new WorkerLeft(member.Id, reason));
            await call.CancelAsync().ConfigureAwait(false);
            await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async Task<Hello?> ReadHelloAsync(IAsyncStreamReader<WorkerMessage> stream, CancellationToken cancellation)
    {
        using CancellationTokenSource handshake = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        handshake.CancelAfter(HandshakeTimeout);
        try
        {
            return await stream.MoveNext(handshake.Token).ConfigureAwait(false) ? stream.Current.Hello : null;
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            return null;
        }
    }

    private static string? Refuse(Hello hello) =>
        hello.ProtocolVersion != TrainingWire.ProtocolVersion
            ? $"it speaks version {hello.ProtocolVersion} of the protocol, this coordinator version {TrainingWire.ProtocolVersion}; use the same build for both"
        : hello.Name.Length is 0 or > 100 || hello.Name.Any(char.IsControl) || hello.Threads is < 1 or > 1024 || hello.InstructionSet.Length > 100
            ? "its hello is not in order"
        : null;

    /// <summary>Turns messages into events until the worker ends its stream; why it did.</summary>
    private async Task<string> ReadAsync(IAsyncStreamReader<WorkerMessage> stream, GrpcWorkerLink link, CancellationToken cancellation)
    {
        int worker = link.Member.Id;
        while (await stream.MoveNext(cancellation).ConfigureAwait(false))
        {
            link.Hear(stream.Current.CalculateSize());
            switch (stream.Current)
            {
                case { Partial: { Id: { } id, Node: { } node } partial }:
                    inbox.Post(new PartialArrived(
                        worker,
                        FromWire(id),
                        new TreeNode((int)node.Level, (int)node.Index),
                        partial.Gradient.Memory,
                        partial.LossSum,
                        (int)partial.Correct,
                        (int)partial.Samples,
                        TimeSpan.FromMicroseconds(partial.ComputeMicroseconds)));
                    break;
                case { BlockResult: { Id: { } id } result }:
                    inbox.Post(new BlockArrived(worker, FromWire(id), (int)result.Block, result.LossSum, (int)result.Correct, result.Predictions.Memory));
                    break;
                case { Goodbye: { } goodbye }:
                    return $"it said goodbye: {goodbye.Reason}";
                case { Heartbeat: not null }:
                    break;
                default:
                    return "it sent a message that is not in order";
            }
        }

        return "it ended its stream";
    }

    private static OrderId FromWire(StepId id) => new(id.RunId, (long)id.MembershipVersion, (int)id.Epoch, (int)id.Step);
}
