using System.Text;
using Distributed.Coordinator.Status;

namespace Distributed.Tests.Status;

/// <summary>The stream of events by itself, with readers of all kinds.</summary>
public sealed class EventStreamTests
{
    private static readonly TimeSpan Guard = TimeSpan.FromMinutes(1);

    private int _composed;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Frames_ForManyReaders_AreMadeOnceForAll()
    {
        await using EventStream events = Create();
        Reader[] readers = [.. Enumerable.Range(0, 50).Select(_ => new Reader(events))];
        foreach (Reader reader in readers)
            await reader.Third.Task.WaitAsync(Guard, Cancellation);
        await events.EndAsync(Guard);
        foreach (Reader reader in readers)
            await reader.Sending.WaitAsync(Guard, Cancellation);
        Assert.All(readers, static reader => Assert.EndsWith("event: end\ndata: {}\n\n", reader.Last, StringComparison.Ordinal));
        Assert.True(_composed < 50, $"{_composed} documents for {readers.Sum(static reader => reader.Count)} frames");
    }

    [Fact]
    public async Task End_WithASlowReader_WaitsUntilItHasTheLastFrame()
    {
        await using EventStream events = Create();
        TaskCompletionSource gate = new();
        Reader slow = new(events, (_, _) => gate.Task);
        Task ending = events.EndAsync(Guard);
        Assert.False(ending.IsCompleted);
        gate.SetResult();
        await ending.WaitAsync(Guard, Cancellation);
        await slow.Sending.WaitAsync(Guard, Cancellation);
        Assert.Contains("event: end", slow.Last, StringComparison.Ordinal);
    }

    [Fact]
    public async Task End_WithAReaderThatTakesNothing_DoesNotWaitLongerThanTold()
    {
        await using EventStream events = Create(TimeSpan.FromSeconds(1));
        Reader stuck = new(events, static (_, cancellation) => Task.Delay(Timeout.InfiniteTimeSpan, cancellation));
        await events.EndAsync(TimeSpan.FromMilliseconds(1)).WaitAsync(Guard, Cancellation);
        Assert.False(stuck.Sending.IsCompletedSuccessfully);
        // Dropped in the end, too.
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stuck.Sending.WaitAsync(Guard, Cancellation));
    }

    [Fact]
    public async Task Reader_ThatTakesNothing_IsDroppedAndHoldsUpNobody()
    {
        await using EventStream events = Create(TimeSpan.FromSeconds(1));
        Reader stuck = new(events, static (_, cancellation) => Task.Delay(Timeout.InfiniteTimeSpan, cancellation));
        Reader quick = new(events);
        await quick.Third.Task.WaitAsync(Guard, Cancellation);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stuck.Sending.WaitAsync(Guard, Cancellation));
        Assert.Equal(1, events.Readers);
    }

    [Fact]
    public async Task Reader_ThatComesAfterTheEnd_GetsTheLastFrame()
    {
        await using EventStream events = Create();
        await events.EndAsync(Guard);
        Reader late = new(events);
        await late.Sending.WaitAsync(Guard, Cancellation);
        Assert.Contains("event: end", late.Last, StringComparison.Ordinal);
    }

    private EventStream Create(TimeSpan? patience = null) => new(Compose, static () => [("result", "1"u8.ToArray())], patience ?? Guard);

    private byte[] Compose() => Encoding.ASCII.GetBytes($"{Interlocked.Increment(ref _composed)}");

    private sealed class Reader
    {
        public Reader(EventStream events, Func<byte[], CancellationToken, Task>? take = null)
        {
            Sending = events.SendAsync(
                async (frame, cancellation) =>
                {
                    await (take?.Invoke(frame, cancellation) ?? Task.CompletedTask);
                    Last = Encoding.ASCII.GetString(frame);
                    if (++Count == 3)
                        Third.SetResult();
                },
                Cancellation);
        }

        public Task Sending { get; }

        public TaskCompletionSource Third { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Last { get; private set; } = "";

        public int Count { get; private set; }
    }
}
