using Distributed.Exchange;
using Distributed.Models;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Session;

namespace Distributed.Tests;

/// <summary>What a worker's step leaves for the garbage collector, counted by the runtime over all threads.</summary>
[Collection(nameof(SessionTests))]
public sealed class AllocationTests
{
    private const int Steps = 400;
    private const int StepsToWarmUp = 100;
    private const int MostAllocating = 2;
    private const int Parameters = (36 * 4) + 4;

    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(2, true)]
    public void Step_OverSharedMemory_AllocatesNothing(int threads, bool isRounded)
    {
        Assert.SkipUnless(SharedSegment.Folder() is not null, "this system has no shared memory");
        string folder = SharedSegment.Folder()!;
        using SharedLobby lobby = SharedLobby.Create(folder);
        using SharedWeights weights = SharedWeights.Create(folder, Parameters);
        using SharedMailbox mailbox = SharedMailbox.Create(folder, Parameters, 4);
        try
        {
            Welcome welcome = SessionTests.Welcome();
            welcome.Bfloat16 = isRounded;
            welcome.SharedMemory = new SharedMemory { Lobby = lobby.Name, Weights = weights.Name, Mailbox = mailbox.Name, Slots = 4 };
            using RunContext run = RunContext.Create(welcome, threads, ExchangeChoice.Shm);
            Assert.Equal(Parameters, run.ParameterCount);
            for (int shard = 0; shard < welcome.Shards; shard++)
                run.Shards.Add(shard, 0, new byte[32 * 36], new byte[32]);
            using OrderQueue orders = new(run, (int)welcome.Shards, new Outbox(run.Executor.Pool, run.Shared), heard: static () => { });
            byte[] received = new byte[1024], sent = new byte[1024];
            Protos.Partial partial = new();
            CoordinatorMessage order = new() { Step = new Step { Id = new StepId { Run = 1, MembershipVersion = 1 } } };
            order.Step.Nodes.Add(new TreeNode(1, 0).Code);
            long[] allocated = new long[Steps + 1];
            for (int step = 0; step < Steps; step++)
            {
                allocated[step] = GC.GetTotalAllocatedBytes(precise: true);
                order.Step.Id.Step = (uint)(step % 8);
                int size = order.CalculateSize();
                Google.Protobuf.MessageExtensions.WriteTo(order, sent.AsSpan(0, size));
                Assert.True(mailbox.ToWorker.TryWrite(sent.AsSpan(0, size)));
                mailbox.WorkerBell.Ring();
                Take(mailbox, lobby.Bell, ref received, partial);
                Assert.True(partial.Samples == 8);
                mailbox.GiveBack((int)partial.Slot - 1);
            }

            allocated[Steps] = GC.GetTotalAllocatedBytes(precise: true);
            // The first time that two threads want a lock at the same moment, which on a busy machine may come late, the runtime makes
            // it an event to wait for, once.
            int allocating = Enumerable.Range(StepsToWarmUp, Steps - StepsToWarmUp).Count(step => allocated[step + 1] != allocated[step]);
            Assert.InRange(allocating, 0, MostAllocating);
        }
        finally
        {
            lobby.Unlink();
            weights.Unlink();
            mailbox.Unlink();
        }
    }

    private static void Take(SharedMailbox mailbox, Bell bell, ref byte[] received, Protos.Partial partial)
    {
        while (true)
        {
            int seen = bell.Look();
            if (mailbox.ToCoordinator.TryRead(ref received, out int length))
            {
                Assert.True(Recycled.TryRead(received.AsSpan(0, length), partial));
                return;
            }

            TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            bell.WaitPast(seen, TimeSpan.FromSeconds(1));
        }
    }
}
