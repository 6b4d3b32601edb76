using CsCheck;
using Distributed.Worker.Session;

namespace Distributed.Tests;

/// <summary>What leaves together, and that everything leaves in order, whoever releases it.</summary>
public sealed class ClientStreamTests
{
    private const int Frame = ClientStream.FrameLength;

    [Fact]
    public async Task Write_BetweenHoldAndRelease_LeavesTogether()
    {
        using Wire wire = new();
        await using ClientStream stream = new(wire, TimeProvider.System);
        stream.Allow(window: 6 * Frame, isNear: true);
        await stream.WriteAsync(Bytes(Frame), Token);
        Assert.Equal([Frame], wire.Writes);

        stream.Hold();
        foreach (int length in (int[])[Frame, Frame, Frame, 100, 200])
            await stream.WriteAsync(Bytes(length), Token);
        Assert.Equal([Frame, 3 * Frame], wire.Writes);
        await stream.ReleaseAsync(Token);
        Assert.Equal([Frame, 3 * Frame, 300], wire.Writes);
        await stream.WriteAsync(Bytes(10), Token);
        await stream.ReleaseAsync(Token);
        Assert.Equal([Frame, 3 * Frame, 300, 10], wire.Writes);
    }

    [Fact]
    public async Task Write_OverALink_LeavesInPairs()
    {
        using Wire wire = new();
        await using ClientStream stream = new(wire, TimeProvider.System);
        stream.Allow(window: 48 * Frame, isNear: false);
        stream.Hold();
        for (int frame = 0; frame < 5; frame++)
            await stream.WriteAsync(Bytes(Frame), Token);
        await stream.ReleaseAsync(Token);
        Assert.Equal([2 * Frame, 2 * Frame, Frame], wire.Writes);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2 * Frame - 1)]
    public async Task Write_WhereTheWindowIsSmall_LeavesAtOnce(int window)
    {
        using Wire wire = new();
        await using ClientStream stream = new(wire, TimeProvider.System);
        stream.Allow(window, isNear: true);
        stream.Hold();
        await stream.WriteAsync(Bytes(Frame), Token);
        await stream.WriteAsync(Bytes(10), Token);
        Assert.Equal([Frame, 10], wire.Writes);
    }

    [Fact]
    public async Task Watch_OfAMessageThatHasStopped_EndsHoldingForGood()
    {
        Clock clock = new();
        using Wire wire = new();
        await using ClientStream stream = new(wire, clock);
        stream.Allow(window: 16 * Frame, isNear: true);
        stream.Hold();
        for (int frame = 0; frame < 3; frame++)
        {
            await stream.WriteAsync(Bytes(Frame), Token);
            clock.Advance();
            stream.Watch();
        }

        stream.Watch();
        Assert.Empty(wire.Writes);
        Assert.True(stream.MayHold);
        clock.Advance();
        stream.Watch();
        Assert.False(stream.MayHold);
        await stream.WriteAsync(Bytes(20), Token);
        await stream.ReleaseAsync(Token);
        stream.Hold();
        await stream.WriteAsync(Bytes(30), Token);
        Assert.Equal([3 * Frame, 20, 30], wire.Writes);
    }

    [Fact]
    public async Task Watch_WhereTheNetworkHasStopped_DoesNotWait()
    {
        Clock clock = new();
        using Wire wire = new() { Gate = new SemaphoreSlim(0) };
        await using ClientStream stream = new(wire, clock);
        stream.Allow(window: 4 * Frame, isNear: true);
        stream.Hold();
        await stream.WriteAsync(Bytes(Frame), Token);
        Task writing = stream.WriteAsync(Bytes(Frame), Token).AsTask();
        for (int heartbeat = 0; heartbeat < 3; heartbeat++)
        {
            clock.Advance();
            stream.Watch();
        }

        using CancellationTokenSource ended = new();
        Task releasing = stream.ReleaseAsync(ended.Token).AsTask();
        await ended.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => releasing);
        wire.Gate.Release();
        await writing;

        // That was not for what was held.
        stream.Hold();
        await stream.WriteAsync(Bytes(10), Token);
        Assert.Equal([2 * Frame], wire.Writes);
    }

    [Fact]
    public async Task Abandon_OfAMessage_LetsTheNextThingPass()
    {
        using Wire wire = new();
        await using ClientStream stream = new(wire, TimeProvider.System);
        stream.Allow(window: 8 * Frame, isNear: true);
        stream.Hold();
        await stream.WriteAsync(Bytes(Frame), Token);
        stream.Abandon();
        await stream.WriteAsync(Bytes(13), Token);
        Assert.Equal([Frame + 13], wire.Writes);
    }

    [Fact]
    public void Write_WithAnotherWhoHoldsAndReleases_KeepsTheOrder() =>
        Gen.Select(Gen.Int[0, 5], Gen.Int[0, 1_000_000]).Sample((frames, seed) =>
        {
            Random random = new(seed);
            byte[] sent = new byte[200_000];
            random.NextBytes(sent);
            using Wire wire = new();
            using ClientStream stream = new(wire, TimeProvider.System);
            stream.Allow(2 * frames * Frame, isNear: true);
            using CancellationTokenSource done = new();
            Task other = Task.Run(async () =>
            {
                while (!done.IsCancellationRequested)
                {
                    stream.Hold();
                    await Task.Yield();
                    await stream.ReleaseAsync(Token);
                }
            });
            Task.Run(async () =>
            {
                for (int first = 0; first < sent.Length;)
                {
                    int length = Math.Min(random.Next(1, 2 * Frame), sent.Length - first);
                    await stream.WriteAsync(sent.AsMemory(first, length), Token);
                    first += length;
                }
            }).Wait();
            done.Cancel();
            other.Wait();
            return wire.Bytes.SequenceEqual(sent);
        }, iter: 100);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private static byte[] Bytes(int length) => new byte[length];

    private sealed class Clock : TimeProvider
    {
        private long _milliseconds;

        public override long TimestampFrequency => 1000;

        public override long GetTimestamp() => _milliseconds;

        /// <summary>By what is between two heartbeats.</summary>
        public void Advance() => _milliseconds += 500;
    }

    /// <summary>Where it all arrives.</summary>
    private sealed class Wire : MemoryStream
    {
        /// <summary>What a write waits for; null: nothing.</summary>
        public SemaphoreSlim? Gate { get; init; }

        public List<int> Writes { get; } = [];

        public byte[] Bytes => ToArray();

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            if (Gate is not null)
                await Gate.WaitAsync(cancellationToken);
            Writes.Add(buffer.Length);
            Write(buffer.Span);
        }
    }
}
