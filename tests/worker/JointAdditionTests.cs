using System.Runtime.InteropServices;
using Distributed.Engine;
using Distributed.Reduction;
using Distributed.Worker.Compute;

namespace Distributed.Tests;

/// <summary>Partials of two threads, added by whoever has nothing else to do.</summary>
public sealed class JointAdditionTests
{
    /// <summary>Each part is added once, however helpers come and go between one addition and the next.</summary>
    [Theory]
    [InlineData(1, 3, WirePrecision.Float32)]
    [InlineData(16, 2, WirePrecision.Float32)]
    [InlineData(17, 2, WirePrecision.Float32)]
    [InlineData(100, 3, WirePrecision.Bf16)]
    [InlineData(5000, 4, WirePrecision.Float32)]
    [InlineData(5003, 7, WirePrecision.Bf16)]
    public void Add_WithThreadsThatHelp_GivesTheBitsOfOneThread(int length, int parts, WirePrecision precision)
    {
        JointAddition addition = new(parts, isFromFront: true);
        PartialPool pool = new(length), alone = new(length);
        Partial left = pool.Rent(), right = OtherThread.Run(pool.Rent), expected = alone.Rent();
        Random random = new(length);
        bool isOver = false;
        int helped = 0;
        Thread[] helpers = [.. Enumerable.Range(0, 3).Select(i => new Thread(() =>
        {
            while (!Volatile.Read(ref isOver))
            {
                if (addition.AddParts(isFromFront: i == 0))
                    Volatile.Write(ref helped, 1);
            }
        }))];
        foreach (Thread helper in helpers)
            helper.Start();
        try
        {
            // Shorter ones are over before anybody can help, unless the owner is interrupted.
            bool isLong = length >= 5000 && Environment.ProcessorCount > 1;
            for (int i = 0; i < 500 || (isLong && Volatile.Read(ref helped) == 0); i++)
            {
                Fill(left, random);
                Fill(right, random);
                left.Gradient.Values.CopyTo(expected.Gradient.Values);
                (expected.LossSum, expected.Correct, expected.Samples) = (left.LossSum, left.Correct, left.Samples);
                expected.Add(right, precision);
                addition.Add(left, right, precision);
                Assert.Equal(Bits(expected), Bits(left));
                Assert.Equal(expected.Totals, left.Totals);
            }
        }
        finally
        {
            Volatile.Write(ref isOver, true);
            foreach (Thread helper in helpers)
                helper.Join();
        }
    }

    /// <summary>Another core would have to fetch all of it.</summary>
    [Fact]
    public void Add_OfWhatWasLentToOneThread_AsksForNoHelp()
    {
        JointAddition addition = new(parts: 2, isFromFront: true);
        PartialPool pool = new(5000);
        Partial left = pool.Rent(), right = pool.Rent();
        left.Gradient.Values.Fill(1);
        right.Gradient.Values.Fill(2);
        const int additions = 5000;
        bool isOver = false, helped = false;
        using ManualResetEventSlim isLooking = new();
        Thread helper = new(() =>
        {
            isLooking.Set();
            while (!Volatile.Read(ref isOver))
                helped |= addition.AddParts(isFromFront: false);
        });
        helper.Start();
        try
        {
            isLooking.Wait(TestContext.Current.CancellationToken);
            for (int i = 0; i < additions; i++)
                addition.Add(left, right, WirePrecision.Float32);
        }
        finally
        {
            Volatile.Write(ref isOver, true);
            helper.Join();
        }

        Assert.False(helped);
        Assert.Equal(1f + (2 * additions), left.Gradient.Values[4999]);
    }

    [Fact]
    public void Add_OfPartialsOfDifferentLengths_Refuses()
    {
        JointAddition addition = new(parts: 2, isFromFront: true);
        Partial left = new PartialPool(16).Rent(), right = OtherThread.Run(new PartialPool(17).Rent);
        Assert.Contains("16 and 17", Assert.Throws<ArgumentException>(() => addition.Add(left, right, WirePrecision.Float32)).Message);
        Assert.False(addition.AddParts(isFromFront: false));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void ComputePool_WhileOthersRun_LetsAThreadThatIsDoneHelp(int done)
    {
        Assert.SkipWhen(Environment.ProcessorCount == 1, "there nobody waits awake");
        using TinyRun tiny = new(train: 8, test: 4);
        using Network network = Network.Compile(tiny.Model, 1, InstructionSets.Best);
        using ComputePool pool = new(network, 2);
        int times = 0;
        for (int i = 0; i < 100; i++)
        {
            bool hasHelped = false;
            pool.Run(
                thread =>
                {
                    if (thread.Index != done)
                        SpinWait.SpinUntil(() => Volatile.Read(ref hasHelped), TimeSpan.FromMilliseconds(300));
                },
                thread =>
                {
                    if (thread.Index == done)
                        Volatile.Write(ref hasHelped, true);
                    return false;
                });
            times += hasHelped ? 1 : 0;
        }

        // A thread that is kept from its core for longer than it waits awake does not help.
        Assert.InRange(times, 1, 100);
    }

    private static void Fill(Partial partial, Random random)
    {
        foreach (ref float value in partial.Gradient.Values)
            value = (float)((random.NextDouble() * 2) - 1);
        (partial.LossSum, partial.Correct, partial.Samples) = (random.NextDouble(), random.Next(8), random.Next(8));
    }

    private static byte[] Bits(Partial partial) => MemoryMarshal.AsBytes(partial.Gradient.Values).ToArray();
}
