using Distributed.Exchange;
using Distributed.Reduction;

namespace Distributed.Tests.Exchange;

/// <summary>The parts of the exchange over shared memory, two ends within one process.</summary>
public sealed class ExchangeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("exchange-tests-").FullName;

    public ExchangeTests() => Assert.SkipUnless(SharedBell.IsSupported, "this system has no futex");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Bell_RungBetweenLookAndWait_DoesNotSleep(bool isShared)
    {
        using SharedLobby lobby = SharedLobby.Create(_folder);
        Bell bell = isShared ? lobby.Bell : new ProcessBell();
        int seen = bell.Look();
        bell.Ring();
        bell.WaitPast(seen, TimeSpan.FromMinutes(1));
        Assert.NotEqual(seen, bell.Look());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Bell_PassedToAndFro_WakesEachTime(bool isShared)
    {
        using SharedLobby here = SharedLobby.Create(_folder), there = SharedLobby.Create(_folder);
        using SharedLobby hereAgain = SharedLobby.Open(_folder, here.Name), thereAgain = SharedLobby.Open(_folder, there.Name);
        ProcessBell ping = new(), pong = new();
        const int rounds = 2000;
        int answered = 0;
        Thread other = new(() => Follow(isShared ? hereAgain.Bell : ping, isShared ? thereAgain.Bell : pong));
        other.Start();
        Bell mine = isShared ? there.Bell : pong;
        for (int i = 0; i < rounds; i++)
        {
            int seen = mine.Look();
            (isShared ? here.Bell : (Bell)ping).Ring();
            while (mine.Look() == seen)
                mine.WaitPast(seen, TimeSpan.FromMinutes(1));
        }

        other.Join();
        Assert.Equal(rounds, answered);

        void Follow(Bell hear, Bell answer)
        {
            int seen = 0;
            while (answered < rounds)
            {
                while (hear.Look() == seen)
                    hear.WaitPast(seen, TimeSpan.FromMinutes(1), patience: TimeSpan.FromTicks(50));
                // Before the answer: the next ring comes at any time after it.
                seen = hear.Look();
                answered++;
                answer.Ring();
            }
        }
    }

    [Fact]
    public void Ring_OfMessagesOfAllLengths_DeliversEachWholeAndInOrder()
    {
        using SharedSegment segment = SharedSegment.Create(_folder, SharedRing.SizeOf(256));
        using SharedSegment other = SharedSegment.Open(_folder, segment.Name);
        SharedRing writer = new(segment, 0, 256), reader = new(other, 0, 256);
        byte[] buffer = [];
        byte next = 0, expected = 0;
        Random random = new(3);
        Queue<int> lengths = [];
        for (int i = 0; i < 5000; i++)
        {
            byte[] message = new byte[random.Next(0, 90)];
            for (int j = 0; j < message.Length; j++)
                message[j] = unchecked(next++);
            while (!writer.TryWrite(message))
                ReadOne();
            lengths.Enqueue(message.Length);
        }

        while (lengths.Count > 0)
            ReadOne();
        Assert.False(reader.TryRead(ref buffer, out _));

        void ReadOne()
        {
            Assert.True(reader.TryRead(ref buffer, out int length));
            Assert.Equal(lengths.Dequeue(), length);
            for (int j = 0; j < length; j++)
                Assert.Equal(unchecked(expected++), buffer[j]);
        }
    }

    [Fact]
    public unsafe void Ring_OfNonsense_IsRefused()
    {
        using SharedSegment segment = SharedSegment.Create(_folder, SharedRing.SizeOf(256));
        SharedRing ring = new(segment, 0, 256);
        byte[] buffer = [];
        *(long*)segment.At(0, 8) = 1000;
        Assert.Throws<InvalidDataException>(() => ring.TryRead(ref buffer, out _));
        *(long*)segment.At(0, 8) = 10;
        *(int*)segment.At(128, 4) = 200;
        Assert.Throws<InvalidDataException>(() => ring.TryRead(ref buffer, out _));
        *(int*)segment.At(128, 4) = -1;
        Assert.Throws<InvalidDataException>(() => ring.TryRead(ref buffer, out _));
    }

    [Fact]
    public void Segment_IsPrivateAndGoneWithItsOwner()
    {
        SharedSegment segment = SharedSegment.Create(_folder, 5000);
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_folder, segment.Name)));
        segment.Dispose();
        Assert.Empty(Directory.GetFiles(_folder));
    }

    [Theory]
    [InlineData("../etc/passwd")]
    [InlineData("distributed-training-../../etc/passwd")]
    [InlineData("")]
    public void Segment_OfAnotherName_IsNotOpened(string name) => Assert.Throws<IOException>(() => SharedSegment.Open(_folder, name));

    [Fact]
    public void RemoveStale_LeavesWhatIsInUse()
    {
        using SharedSegment used = SharedSegment.Create(_folder, 64);
        string stale = Path.Combine(_folder, SharedSegment.Prefix + "stale"), foreign = Path.Combine(_folder, "foreign"), young = Path.Combine(_folder, SharedSegment.Prefix + "young");
        foreach (string path in (string[])[stale, foreign, young])
            File.WriteAllText(path, "");
        string inUse = Path.Combine(_folder, used.Name);
        foreach (string path in (string[])[stale, foreign, inUse])
            File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddHours(-1));
        SharedSegment.RemoveStale(_folder);
        Assert.Equal(new[] { inUse, foreign, young }.Order(), Directory.GetFiles(_folder).Order());
    }

    [Fact]
    public void Segment_WithoutRoom_IsRefusedAndLeavesNothing()
    {
        Assert.ThrowsAny<IOException>(() => SharedSegment.Create(_folder, long.MaxValue / 4));
        Assert.Empty(Directory.GetFiles(_folder));
    }

    [Fact]
    public void Mailbox_LentSlot_IsNotRentedUntilItIsGivenBack()
    {
        using SharedMailbox coordinator = SharedMailbox.Create(_folder, parameters: 1000, slots: 2);
        using SharedMailbox worker = SharedMailbox.Open(_folder, coordinator.Name, parameters: 1000, slots: 2);
        SharedPartialPool pool = new(worker, parameters: 1000);
        Partial first = pool.Rent(), second = pool.Rent(), ownMemory = pool.Rent();
        Assert.Null(pool.Lend(ownMemory));
        pool.Return(ownMemory);
        Assert.Same(ownMemory, pool.Rent());

        first.Gradient.Values.Fill(3);
        int slot = pool.Lend(first) ?? -1;
        Assert.Equal(3f, coordinator.Gradient(slot).Values[999]);
        pool.Return(second);
        Assert.Same(second, pool.Rent());
        Assert.NotSame(first, pool.Rent());
        coordinator.GiveBack(slot);
        Assert.Same(first, pool.Rent());
        Assert.Throws<IOException>(() => SharedMailbox.Open(_folder, coordinator.Name, parameters: 2000, slots: 2));
    }

    /// <summary>What another core has written takes longer to write to than what this one has.</summary>
    [Fact]
    public void PartialPool_RentedFromByTwoThreads_LendsEachItsOwnFirst()
    {
        using SharedMailbox coordinator = SharedMailbox.Create(_folder, parameters: 1000, slots: 2);
        using SharedMailbox worker = SharedMailbox.Open(_folder, coordinator.Name, parameters: 1000, slots: 2);
        SharedPartialPool pool = new(worker, parameters: 1000);
        Partial others = OtherThread.Run(pool.Rent), own = pool.Rent();
        pool.Return(others);
        pool.Return(own);
        Assert.Same(own, pool.Rent());
        // Rather than memory that is not shared.
        Assert.Same(others, pool.Rent());
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
