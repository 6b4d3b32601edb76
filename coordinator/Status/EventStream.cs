using System.Diagnostics;
using System.Text;

namespace Distributed.Coordinator.Status;

/// <summary>
/// Server-sent events for any number of readers. One clock makes one frame a few times a second, while anybody reads at
/// all, and hands it to each reader; one that is still busy with the frame before skips to the newest when it is done. A
/// reader that takes nothing in for <paramref name="patience"/> is dropped; nobody waits for it.
/// </summary>
/// <param name="status">Makes the data of a frame.</param>
/// <param name="lastWords">Makes the events, by name and data, that come in the last frame besides.</param>
/// <param name="patience">How long a reader may take to take a frame in.</param>
internal sealed class EventStream(Func<byte[]> status, Func<IEnumerable<(string Name, byte[] Data)>> lastWords, TimeSpan patience) : IAsyncDisposable
{
    /// <summary>The name of the last event, after which there is nothing to come.</summary>
    public const string EndEvent = "end";

    private const int ManyReaders = 32;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan IntervalForMany = TimeSpan.FromMilliseconds(500);

    private readonly CancellationTokenSource _ended = new();
    private readonly Lock _lock = new();
    private readonly HashSet<EventReader> _readers = [];
    private readonly TaskCompletionSource _allGone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private EventFrame _latest = new(0, [], IsLast: false);
    private Task _clock = Task.CompletedTask;
    private bool _isTicking;

    /// <summary>How many listen just now.</summary>
    public int Readers
    {
        get
        {
            lock (_lock)
                return _readers.Count;
        }
    }

    /// <summary>Sends frames to one reader until the stream ends.</summary>
    /// <param name="write">Writes and flushes; completes once there is room for more.</param>
    /// <param name="cancellation">The reader has gone.</param>
    /// <exception cref="OperationCanceledException">The reader has gone, or has fallen behind for too long.</exception>
    public async Task SendAsync(Func<byte[], CancellationToken, ValueTask> write, CancellationToken cancellation)
    {
        using EventReader reader = new(write, cancellation);
        reader.Offer(Join(reader));
        try
        {
            await reader.Done.ConfigureAwait(false);
        }
        finally
        {
            Leave(reader);
        }
    }

    /// <summary>Sends the last frame, waits until all readers have it or the time is up, and drops those that have not.</summary>
    public async Task EndAsync(TimeSpan atMost)
    {
        await _ended.CancelAsync().ConfigureAwait(false);
        await _clock.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        Broadcast(isLast: true);
        lock (_lock)
        {
            if (_readers.Count == 0)
                _allGone.TrySetResult();
        }

        await Task.WhenAny(_allGone.Task, Task.Delay(atMost)).ConfigureAwait(false);
        EventReader[] stuck;
        lock (_lock)
            stuck = [.. _readers];
        foreach (EventReader reader in stuck)
            reader.Drop();
    }

    public async ValueTask DisposeAsync()
    {
        await _ended.CancelAsync().ConfigureAwait(false);
        await _clock.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _ended.Dispose();
    }

    /// <returns>The frame to begin with.</returns>
    private EventFrame Join(EventReader reader)
    {
        lock (_lock)
        {
            _readers.Add(reader);
            if (!_isTicking && !_latest.IsLast)
            {
                _latest = Compose(_latest.Number + 1, isLast: false);
                _isTicking = !_ended.IsCancellationRequested;
                if (_isTicking)
                    _clock = Task.Run(TickAsync);
            }

            return _latest;
        }
    }

    private void Leave(EventReader reader)
    {
        lock (_lock)
        {
            _readers.Remove(reader);
            if (_readers.Count == 0 && _latest.IsLast)
                _allGone.TrySetResult();
        }
    }

    private async Task TickAsync()
    {
        do
            await Task.Delay(Readers > ManyReaders ? IntervalForMany : Interval, _ended.Token).ConfigureAwait(false);
        while (Broadcast(isLast: false));
    }

    /// <summary>Makes a frame and hands it to everybody; false when nobody is there.</summary>
    private bool Broadcast(bool isLast)
    {
        EventReader[] readers;
        EventFrame frame;
        lock (_lock)
        {
            if (_readers.Count == 0 && !isLast)
            {
                _isTicking = false;
                return false;
            }

            if (!_latest.IsLast)
                _latest = Compose(_latest.Number + 1, isLast);
            frame = _latest;
            readers = [.. _readers];
        }

        // Here, one after the other: a thread for each would take the cores from the workers all at once.
        foreach (EventReader reader in readers)
        {
            if (reader.BusyFor > patience)
                reader.Drop();
            else
                reader.Offer(frame);
        }

        return true;
    }

    private EventFrame Compose(long number, bool isLast)
    {
        using MemoryStream frame = new();
        if (isLast)
        {
            foreach ((string name, byte[] data) in lastWords())
                Write(frame, $"event: {name}\n", data);
        }

        Write(frame, $"event: status\nid: {number}\nretry: 1000\n", status());
        if (isLast)
            Write(frame, $"event: {EndEvent}\n", "{}"u8);
        return new EventFrame(number, frame.ToArray(), isLast);
    }

    private static void Write(MemoryStream frame, string fields, ReadOnlySpan<byte> data)
    {
        frame.Write(Encoding.ASCII.GetBytes(fields));
        frame.Write("data: "u8);
        frame.Write(data);
        frame.Write("\n\n"u8);
    }
}

/// <summary>What is sent to every reader at a time.</summary>
internal sealed record EventFrame(long Number, byte[] Bytes, bool IsLast);

/// <summary>One reader of an <see cref="EventStream"/>: at most one frame is on its way to it, and at most one, the newest, waits.</summary>
internal sealed class EventReader : IDisposable
{
    private readonly Func<byte[], CancellationToken, ValueTask> _write;
    private readonly CancellationTokenSource _dropped;
    private readonly CancellationTokenRegistration _going;
    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _lock = new();
    private EventFrame? _next;
    private long _sent;
    private long _busySince;

    /// <param name="gone">The reader has gone.</param>
    public EventReader(Func<byte[], CancellationToken, ValueTask> write, CancellationToken gone)
    {
        _write = write;
        _dropped = CancellationTokenSource.CreateLinkedTokenSource(gone);
        _going = _dropped.Token.Register(() => _done.TrySetCanceled());
    }

    /// <summary>Completes when the last frame has been sent; fails when the reader is gone.</summary>
    public Task Done => _done.Task;

    /// <summary>For how long the frame on its way has been so.</summary>
    public TimeSpan BusyFor
    {
        get
        {
            lock (_lock)
                return _busySince == 0 ? TimeSpan.Zero : Stopwatch.GetElapsedTime(_busySince);
        }
    }

    /// <summary>Sends a frame now, or when the one before is through, unless a newer one comes meanwhile.</summary>
    public void Offer(EventFrame frame)
    {
        lock (_lock)
        {
            if (frame.Number <= _sent || frame.Number <= _next?.Number)
                return;
            _next = frame;
            if (_busySince != 0)
                return;
            _busySince = Stopwatch.GetTimestamp();
        }

        _ = PumpAsync();
    }

    /// <summary>Gives the reader up. It may have gone at the same moment.</summary>
    public void Drop()
    {
        try
        {
            _dropped.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // It has.
        }
    }

    public void Dispose()
    {
        _going.Dispose();
        _dropped.Dispose();
    }

    private async Task PumpAsync()
    {
        try
        {
            while (Take() is { } frame)
            {
                await _write(frame.Bytes, _dropped.Token).ConfigureAwait(false);
                if (frame.IsLast)
                    _done.TrySetResult();
            }
        }
        catch (Exception exception)
        {
            // Whatever it is, the connection is of no more use.
            _done.TrySetException(exception);
        }
    }

    private EventFrame? Take()
    {
        lock (_lock)
        {
            EventFrame? frame = _next;
            _next = null;
            _busySince = frame is null ? 0 : Stopwatch.GetTimestamp();
            _sent = frame?.Number ?? _sent;
            return frame;
        }
    }
}
