using System.Buffers;
using Distributed.Protos;
using Distributed.Reduction;
using Google.Protobuf;
using Grpc.Core;

namespace Distributed.Tests;

/// <summary>Messages as they come from the wire, of whoever writes to it.</summary>
public sealed class FrameReadingTests
{
    private static readonly byte[] s_vector = [1, 2, 3, 4, 5, 6, 7, 8];

    private readonly VectorPool _pool = new();
    private int _rented;

    [Fact]
    public void Message_WithTheVectorBeforeAndBetweenItsFields_IsRead()
    {
        byte[] partial = new WorkerMessage { Partial = new Protos.Partial { Id = new StepId { Step = 7 }, Samples = 8 } }.ToByteArray();
        byte[] more = new WorkerMessage { Partial = new Protos.Partial { Correct = 3 } }.ToByteArray();
        foreach (byte[] message in (byte[][])[[.. Vector(), .. partial, .. more], [.. partial, .. Vector(), .. more], [.. partial, .. more, .. Vector()]])
        {
            Frame<WorkerMessage> frame = Read(message);
            Assert.Equal((7u, 8u, 3u), (frame.Message.Partial.Id.Step, frame.Message.Partial.Samples, frame.Message.Partial.Correct));
            Assert.Equal(s_vector, frame.Vector.ToArray());
            frame.Release();
        }
    }

    [Fact]
    public void Message_WithASecondVector_IsRefusedWithoutMemory()
    {
        byte[] heartbeat = new WorkerMessage { Heartbeat = new Heartbeat() }.ToByteArray();
        foreach (byte[] message in (byte[][])[[.. Vector(), .. Vector()], [.. Vector(), .. heartbeat, .. Vector()]])
            Assert.Throws<IOException>(() => Read(message));
        Assert.Equal(0, _rented);
    }

    /// <summary>A partial a step, each in the frame of the one before once that is released.</summary>
    [Theory]
    [InlineData(int.MaxValue)]
    [InlineData(3)]
    public void ReleasedFrame_IsUsedAgain_WithNothingOfItsLastUse(int piece)
    {
        Method<Frame<WorkerMessage>, Frame<CoordinatorMessage>> join = JoinMethod.Create(Rent);
        byte[] full = new WorkerMessage { Partial = new Protos.Partial { Id = new StepId { Step = 7 }, Node = 3, LossSum = 2, Correct = 1, Samples = 8, Chunk = 4, ComputeMicroseconds = 9, Slot = 5 } }.ToByteArray();
        byte[] spare = new WorkerMessage { Partial = new Protos.Partial { Id = new StepId { Epoch = 1 } } }.ToByteArray();
        Frame<WorkerMessage> first = join.RequestMarshaller.ContextualDeserializer(new Payload([.. full, .. Vector()], piece));
        Frame<WorkerMessage> second = join.RequestMarshaller.ContextualDeserializer(new Payload(full, piece));
        Assert.NotSame(first, second);
        Assert.Equal(s_vector, first.Vector.ToArray());
        first.Release();
        Frame<WorkerMessage> third = join.RequestMarshaller.ContextualDeserializer(new Payload(spare, piece));
        Assert.Same(first, third);
        Assert.Equal(new Protos.Partial { Id = new StepId { Epoch = 1 } }, third.Message.Partial);
        Assert.Equal((0, spare.Length, null), (third.Vector.Length, third.Size, third.Received));
        Assert.Equal(8u, second.Message.Partial.Samples);
        third.Release();
        // An id of the last use is none of this one's.
        Frame<WorkerMessage> withoutId = join.RequestMarshaller.ContextualDeserializer(new Payload(new WorkerMessage { Partial = new Protos.Partial { Samples = 8 } }.ToByteArray(), piece));
        Assert.Null(withoutId.Message.Partial.Id);
    }

    [Fact]
    public void Frame_ReleasedTwice_IsNotLentTwice()
    {
        Method<Frame<WorkerMessage>, Frame<CoordinatorMessage>> join = JoinMethod.Create(Rent);
        Frame<WorkerMessage> frame = join.RequestMarshaller.ContextualDeserializer(new Payload(new WorkerMessage { Partial = new Protos.Partial { Samples = 8 } }.ToByteArray()));
        frame.Release();
        Assert.Throws<InvalidOperationException>(frame.Release);
    }

    [Fact]
    public void ReusedFrame_OfAnOrder_HoldsWhatCameLast()
    {
        Method<Frame<WorkerMessage>, Frame<CoordinatorMessage>> join = JoinMethod.Create(Rent);
        Frame<CoordinatorMessage>? last = null;
        CoordinatorMessage[] orders =
        [
            new() { Step = new Step { Id = new StepId { Run = 1, Step = 2 }, Nodes = { 1, 2, 3 }, WeightsCame = true } },
            new() { Step = new Step { Id = new StepId { Run = 1 } } },
            new() { Weights = new Weights { Id = new StepId { Step = 5 }, Chunk = 2 } },
            new() { Weights = new Weights { Id = new StepId { MembershipVersion = 4 } } },
            new() { Drain = new Drain { Reason = "done" } },
        ];
        foreach (CoordinatorMessage order in orders)
        {
            Frame<CoordinatorMessage> frame = join.ResponseMarshaller.ContextualDeserializer(new Payload([.. order.ToByteArray(), .. Vector()]));
            Assert.Equal(order, frame.Message);
            Assert.Equal(frame.Message.ContentCase == last?.Message.ContentCase, frame == last);
            frame.Release();
            last = frame;
        }
    }

    /// <summary>A later version may say more of a step; an object that has kept such a field is not used again.</summary>
    [Fact]
    public void Fields_ThatNobodyKnows_AreReadOver()
    {
        Method<Frame<WorkerMessage>, Frame<CoordinatorMessage>> join = JoinMethod.Create(Rent);
        byte[] message = Within(WorkerMessage.PartialFieldNumber, [.. new Protos.Partial { Id = new StepId { Step = 7 }, Samples = 8 }.ToByteArray(), 0x7a, 3, 1, 2, 3]);
        for (int i = 0; i < 4; i++)
        {
            Frame<WorkerMessage> frame = join.RequestMarshaller.ContextualDeserializer(new Payload(message));
            Assert.Equal((7u, 8u), (frame.Message.Partial.Id.Step, frame.Message.Partial.Samples));
            Assert.InRange(frame.Message.CalculateSize(), 0, message.Length);
            frame.Release();
        }
    }

    [Fact]
    public void Message_WithAVectorThatIsNotThere_IsRefusedWithoutMemory()
    {
        byte[] vector = Vector();
        for (int length = 1; length < vector.Length; length++)
            Assert.Throws<IOException>(() => Read(vector[..length]));
        Assert.Throws<IOException>(() => Read([vector[0], 0]));
        Assert.Throws<IOException>(() => Read([vector[0], 0xff, 0xff, 0xff, 0xff, 0x7f]));
        Assert.Equal(0, _rented);
    }

    /// <summary>Fields that it does not know would stay in the object, which would grow with each message.</summary>
    [Fact]
    public void ReusedMessage_ThatWouldGrow_IsRefused()
    {
        StepId id = new() { Run = 1, Step = 2 };
        byte[] unknown = [.. new WorkerMessage { Hello = new Hello { Name = "x" } }.ToByteArray(), 0x78, 1];
        byte[] step = [.. new Step { Id = id, Nodes = { 1, 2 } }.ToByteArray()], partial = [.. new Protos.Partial { Id = id, Samples = 3 }.ToByteArray()];
        Step reused = new();
        Assert.True(Recycled.TryRead(Within(CoordinatorMessage.StepFieldNumber, step), reused));
        Assert.Equal([1UL, 2UL], reused.Nodes);
        Protos.Partial again = new();
        Assert.True(Recycled.TryRead(Within(WorkerMessage.PartialFieldNumber, partial), again));
        Assert.Equal(3u, again.Samples);
        foreach (byte[] field in (byte[][])[[0x78, 1], [0x7a, 3, 1, 2, 3]])
        {
            // One such message an object can hold, as long as no other comes.
            (Step growing, Protos.Partial growingToo) = (new Step(), new Protos.Partial());
            Assert.True(Recycled.TryRead(Within(CoordinatorMessage.StepFieldNumber, [.. step, .. field]), growing));
            Assert.Throws<InvalidDataException>(() => Recycled.TryRead(Within(CoordinatorMessage.StepFieldNumber, [.. step, .. field]), growing));
            Assert.True(Recycled.TryRead(Within(WorkerMessage.PartialFieldNumber, [.. partial, .. field]), growingToo));
            Assert.Throws<InvalidDataException>(() => Recycled.TryRead(Within(WorkerMessage.PartialFieldNumber, partial), growingToo));
        }

        // What stands beside it is no message to be read into a reused one.
        Assert.False(Recycled.TryRead([.. Within(WorkerMessage.PartialFieldNumber, partial), .. unknown], new Protos.Partial()));
    }

    private static byte[] Vector() => new WorkerMessage { Vector = ByteString.CopyFrom(s_vector) }.ToByteArray();

    private static byte[] Within(int field, byte[] content) => [(byte)((field << 3) | 2), (byte)content.Length, .. content];

    private Frame<WorkerMessage> Read(byte[] message) => JoinMethod.Create(Rent).RequestMarshaller.ContextualDeserializer(new Payload(message));

    private IMemoryOwner<byte> Rent(int bytes)
    {
        _rented++;
        return _pool.Rent(bytes);
    }

    /// <param name="piece">Bytes that lie together.</param>
    private sealed class Payload(byte[] message, int piece = int.MaxValue) : DeserializationContext
    {
        public override int PayloadLength => message.Length;

        public override byte[] PayloadAsNewBuffer() => [.. message];

        public override ReadOnlySequence<byte> PayloadAsReadOnlySequence() => FrameTests.Cut(message, piece);
    }
}
