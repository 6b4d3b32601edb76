using System.Runtime.CompilerServices;

namespace Distributed.Worker.Session;

/// <summary>
/// The connection as the HTTP/2 client is given it, which would call the system for each frame of 16 KB three times. Before it
/// reads one it waits for data, to hold no memory meanwhile: here that costs nothing, and does not wait. And it sends each by
/// itself: here those between <see cref="Hold"/> and <see cref="ReleaseAsync"/> go together.
/// </summary>
internal sealed class ClientStream(Stream inner, TimeProvider time) : Stream
{
    /// <summary>Bytes of a full frame: header and content.</summary>
    internal const int FrameLength = 9 + (16 << 10);

    // On one host, where each call also computes what a network card would: a whole vector of the usual network. Over a link the first
    // bytes had better be on their way while the rest is made.
    private const int MostFrames = 24, MostFramesOverLink = 2;

    // Looks may come one right after the other, on a busy machine.
    private static readonly TimeSpan ShortestLook = TimeSpan.FromMilliseconds(100);

    private readonly SemaphoreSlim _writing = new(1);
    private byte[] _held = [];
    private int _heldLength;
    private volatile bool _isHolding, _isForbidden;
    private int _writes, _writesSeen;
    private long _looked = time.GetTimestamp();

    public override bool CanRead => inner.CanRead;

    public override bool CanSeek => false;

    public override bool CanWrite => inner.CanWrite;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>False once holding has brought a message to a stop.</summary>
    public bool MayHold => !_isForbidden;

    /// <summary>From now on frames may be held.</summary>
    /// <param name="window">
    /// How much the coordinator takes before it has read any of it, bytes. Once it has got half of that it makes room for more; so
    /// no more than half is held, or the client might wait for room and the coordinator for what is held.
    /// </param>
    /// <param name="isNear">Whether the coordinator is on this host.</param>
    public void Allow(int window, bool isNear) =>
        _held = new byte[Math.Min(window / 2 / FrameLength, isNear ? MostFrames : MostFramesOverLink) * FrameLength];

    /// <summary>A message of several frames is about to be written.</summary>
    public void Hold() => _isHolding = !_isForbidden;

    /// <summary>
    /// To be called now and then: a message of which nothing has been written since the last call waits for room that somebody in
    /// between, a proxy, makes in smaller steps. Then what is held leaves, and nothing is held any more. Does not wait: whoever calls
    /// looks after a connection that may have stopped for other reasons.
    /// </summary>
    public void Watch()
    {
        if (time.GetElapsedTime(_looked) < ShortestLook)
            return;
        _looked = time.GetTimestamp();
        int writes = Volatile.Read(ref _writes);
        bool hasStopped = _isHolding && writes == _writesSeen;
        _writesSeen = writes;
        // Else it is the network that something waits for.
        if (!hasStopped || !_writing.Wait(0))
            return;
        if (_heldLength > 0)
        {
            _isForbidden = true;
            _isHolding = false;
        }

        _ = SendStoppedAsync();
    }

    /// <summary>It will not be written to its end: from now on nothing of it is held.</summary>
    public void Abandon() => _isHolding = false;

    /// <summary>It is with the client: sends what is held of it. What the client has not passed on yet is not held.</summary>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    public async ValueTask ReleaseAsync(CancellationToken cancellation)
    {
        _isHolding = false;
        await _writing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            await SendHeldAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) =>
        buffer.IsEmpty ? ValueTask.FromResult(0) : inner.ReadAsync(buffer, cancellationToken);

    public override int Read(byte[] buffer, int offset, int count) => inner.Read(buffer, offset, count);

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        await _writing.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            Volatile.Write(ref _writes, _writes + 1);
            if (_heldLength + buffer.Length > _held.Length)
                await SendHeldAsync(cancellationToken).ConfigureAwait(false);
            if (_heldLength == 0 && (!_isHolding || buffer.Length >= _held.Length))
            {
                await inner.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
                return;
            }

            buffer.CopyTo(_held.AsMemory(_heldLength));
            _heldLength += buffer.Length;
            if (!_isHolding || _heldLength == _held.Length)
                await SendHeldAsync(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _writing.Release();
        }
    }

    public override void Write(byte[] buffer, int offset, int count) => WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override void Flush() => inner.Flush();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override async ValueTask DisposeAsync()
    {
        await inner.DisposeAsync().ConfigureAwait(false);
        await base.DisposeAsync().ConfigureAwait(false);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
            inner.Dispose();
        base.Dispose(disposing);
    }

    // Whoever calls it is the one that writes.
    private ValueTask SendHeldAsync(CancellationToken cancellation)
    {
        int length = _heldLength;
        _heldLength = 0;
        return length == 0 ? default : inner.WriteAsync(_held.AsMemory(0, length), cancellation);
    }

    private async Task SendStoppedAsync()
    {
        try
        {
            await SendHeldAsync(default).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or InvalidOperationException)
        {
            // The connection is broken, as the client will find.
        }
        finally
        {
            _writing.Release();
        }
    }
}
