using System.Text;

namespace Distributed.Coordinator.Status;

/// <summary>
/// Server-sent events for any number of readers. One clock makes one frame a few times a second, while anybody reads at
/// all; every reader sends itself the newest one whenever it has sent the one before. A reader that takes nothing in for
/// <paramref name="patience"/> is dropped; nobody waits for it.
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

    private readonly CancellationTokenSource _disposed = new();
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _allGone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Frame _latest = new(0, [], IsLast: false);
    private TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _clock = Task.CompletedTask;
    private int _readers;
    private bool _isTicking;

    /// <summary>Who listens just now.</summary>
    public int Readers => Volatile.Read(ref _readers);

    /// <summary>Sends frames to one reader until the stream ends, the reader goes, or it falls behind for too long.</summary>
    /// <param name="write">Writes and flushes; completes once there is room for more.</param>
    public async Task SendAsync(Func<byte[], CancellationToken, Task> write, CancellationToken cancellation)
    {
        Join();
        try
        {
            long sent = 0;
            while (true)
            {
                (Frame frame, Task next) = Newest();
                if (frame.Number <= sent)
                {
                    await next.WaitAsync(cancellation).ConfigureAwait(false);
                    continue;
                }

                using CancellationTokenSource slow = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
                slow.CancelAfter(patience);
                await write(frame.Bytes, slow.Token).ConfigureAwait(false);
                sent = frame.Number;
                if (frame.IsLast)
                    return;
            }
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Sends the last frame, and waits until all readers have it or the time is up.</summary>
    public async Task EndAsync(TimeSpan atMost)
    {
        await _disposed.CancelAsync().ConfigureAwait(false);
        await _clock.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        lock (_lock)
        {
            PublishLocked(isLast: true);
            if (_readers == 0)
                _allGone.TrySetResult();
        }

        await Task.WhenAny(_allGone.Task, Task.Delay(atMost)).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        await _disposed.CancelAsync().ConfigureAwait(false);
        await _clock.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _disposed.Dispose();
    }

    private (Frame Frame, Task Next) Newest()
    {
        lock (_lock)
            return (_latest, _next.Task);
    }

    private void Join()
    {
        lock (_lock)
        {
            _readers++;
            if (_latest.IsLast)
                return;
            if (_isTicking || _disposed.IsCancellationRequested)
                return;
            _isTicking = true;
            PublishLocked(isLast: false);
            _clock = Task.Run(TickAsync);
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            if (--_readers == 0 && _latest.IsLast)
                _allGone.TrySetResult();
        }
    }

    private async Task TickAsync()
    {
        while (true)
        {
            await Task.Delay(Readers > ManyReaders ? IntervalForMany : Interval, _disposed.Token).ConfigureAwait(false);
            lock (_lock)
            {
                if (_readers == 0)
                {
                    _isTicking = false;
                    return;
                }

                PublishLocked(isLast: false);
            }
        }
    }

    private void PublishLocked(bool isLast)
    {
        if (_latest.IsLast)
            return;
        _latest = new Frame(_latest.Number + 1, Compose(_latest.Number + 1, isLast), isLast);
        TaskCompletionSource next = _next;
        _next = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        next.SetResult();
    }

    private byte[] Compose(long number, bool isLast)
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
        return frame.ToArray();
    }

    private static void Write(MemoryStream frame, string fields, ReadOnlySpan<byte> data)
    {
        frame.Write(Encoding.ASCII.GetBytes(fields));
        frame.Write("data: "u8);
        frame.Write(data);
        frame.Write("\n\n"u8);
    }

    private sealed record Frame(long Number, byte[] Bytes, bool IsLast);
}
