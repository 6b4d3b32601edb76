using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Http.Features;

namespace Distributed.Coordinator.Hosting;

/// <summary>A caller has sent more than it may at a time.</summary>
internal sealed class MessageTooLargeException(long bytes) : IOException($"it sent a message of more than {bytes:N0} bytes");

/// <summary>
/// How much of a call's messages is held before they are read: little until the caller is known, then what its work
/// takes. gRPC's own limit is one for all calls and all time.
/// </summary>
internal sealed class MessageLimit
{
    /// <summary>A hello has a few hundred.</summary>
    public const long HelloBytes = 8 * 1024;

    // What the caller may have sent of its next messages: HTTP/2's window.
    private const long Ahead = 1 << 20;

    private long _bytes = HelloBytes;

    private MessageLimit()
    {
    }

    private long Bytes => Volatile.Read(ref _bytes);

    /// <summary>The limit of a call.</summary>
    public static MessageLimit Of(HttpContext call) => call.Features.Get<MessageLimit>() ?? throw new InvalidOperationException("the call has no limit");

    /// <summary>Sets the limit of a call, before gRPC reads from it.</summary>
    public static void Impose(HttpContext call)
    {
        MessageLimit limit = new();
        call.Features.Set(limit);
        call.Features.Set<IRequestBodyPipeFeature>(new Body(new Reader(call.Request.BodyReader, limit)));
    }

    /// <summary>The caller is known: it may send messages of this size.</summary>
    public void Raise(long bytes) => Volatile.Write(ref _bytes, bytes + Ahead);

    private sealed record Body(PipeReader Reader) : IRequestBodyPipeFeature;

    private sealed class Reader(PipeReader inner, MessageLimit limit) : PipeReader
    {
        // Once for each piece of a message that the network brings.
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
            Check(await inner.ReadAsync(cancellationToken).ConfigureAwait(false));

        public override bool TryRead(out ReadResult result)
        {
            bool isRead = inner.TryRead(out result);
            if (isRead)
                Check(result);
            return isRead;
        }

        public override void AdvanceTo(SequencePosition consumed) => inner.AdvanceTo(consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => inner.AdvanceTo(consumed, examined);

        public override void CancelPendingRead() => inner.CancelPendingRead();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);

        private ReadResult Check(ReadResult result)
        {
            if (result.Buffer.Length <= limit.Bytes)
                return result;
            long most = limit.Bytes;
            inner.AdvanceTo(result.Buffer.End);
            throw new MessageTooLargeException(most);
        }
    }
}
