using System.Buffers;
using System.Runtime.InteropServices;
using CsCheck;
using Distributed.Protos;
using Distributed.Reduction;
using Google.Protobuf;
using Grpc.Core;

namespace Distributed.Tests;

/// <summary>Messages with a vector beside them, through the marshalling that gRPC calls.</summary>
public sealed class FrameTests
{
    private const int Bfloat16Field = WorkerMessage.Bfloat16VectorFieldNumber;
    private const int VectorField = WorkerMessage.VectorFieldNumber;

    private static readonly VectorPool s_vectors = new();
    private static readonly Marshaller<Frame<WorkerMessage>> s_marshaller = JoinMethod.Create(s_vectors.Rent).RequestMarshaller;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Frame_WrittenAndRead_IsTheSameHoweverTheNetworkCutsIt(bool isBfloat16) =>
        Gen.Select(Gen.Single.Array[0, 300], Gen.UInt, Gen.Int[1, 90], Gen.Int[1, 60]).Sample((values, samples, piece, block) =>
        {
            if (isBfloat16)
                Bfloat16.Round(values);
            byte[] vector = MemoryMarshal.AsBytes(values.AsSpan()).ToArray();
            WorkerMessage message = new() { Partial = new Protos.Partial { Samples = samples } };
            Frame<WorkerMessage> sent = new(message, vector, isBfloat16);
            byte[] wire = Write(sent, block);
            Frame<WorkerMessage> received = Read(wire, piece);
            bool isSame = sent.Size == wire.Length && received.Size == wire.Length && received.Message.Equals(message)
                && received.Vector.Span.SequenceEqual(vector) && (values.Length == 0 || received.IsBfloat16 == isBfloat16);
            received.Release();
            return isSame;
        });

    [Fact]
    public void Frame_WithBfloat16_TakesTwoBytesAValueInAFieldOfItsOwn()
    {
        byte[] vector = MemoryMarshal.AsBytes((ReadOnlySpan<float>)[1, -2, 0.5f]).ToArray();
        Assert.Equal([(Bfloat16Field << 3) | 2, 6, 0x80, 0x3F, 0x00, 0xC0, 0x00, 0x3F], Write(new Frame<WorkerMessage>(new WorkerMessage(), vector, isBfloat16: true), 64));
        Assert.Equal([(VectorField << 3) | 2, 12, .. vector], Write(new Frame<WorkerMessage>(new WorkerMessage(), vector), 64));
    }

    public static TheoryData<string, byte[]> Disorder { get; } = new()
    {
        { "half a value", [(Bfloat16Field << 3) | 2, 3, 1, 2, 3] },
        { "an empty vector", [(Bfloat16Field << 3) | 2, 0] },
        { "less than it says", [(Bfloat16Field << 3) | 2, 4, 1, 2] },
        { "one vector of each kind", [(Bfloat16Field << 3) | 2, 2, 1, 2, (VectorField << 3) | 2, 4, 1, 2, 3, 4] },
        { "two vectors", [(Bfloat16Field << 3) | 2, 2, 1, 2, (Bfloat16Field << 3) | 2, 2, 1, 2] },
    };

    [Theory]
    [MemberData(nameof(Disorder))]
    public void Frame_NotInOrder_IsRefused(string what, byte[] wire) =>
        Assert.True(Record.Exception(() => Read(wire, piece: 64)) is IOException, what);

    private static byte[] Write(Frame<WorkerMessage> frame, int block)
    {
        Writing writing = new(block);
        s_marshaller.ContextualSerializer(frame, writing);
        Assert.Equal(frame.Size, writing.Announced);
        return writing.Written.ToArray();
    }

    private static Frame<WorkerMessage> Read(byte[] wire, int piece) => s_marshaller.ContextualDeserializer(new Reading(Cut(wire, piece)));

    internal static ReadOnlySequence<byte> Cut(byte[] bytes, int piece)
    {
        Piece first = new(bytes.AsMemory(0, Math.Min(piece, bytes.Length)), 0), last = first;
        for (int start = piece; start < bytes.Length; start += piece)
            last = last.Append(bytes.AsMemory(start, Math.Min(piece, bytes.Length - start)));
        return new ReadOnlySequence<byte>(first, 0, last, last.Memory.Length);
    }

    private sealed class Piece : ReadOnlySequenceSegment<byte>
    {
        public Piece(ReadOnlyMemory<byte> memory, long index) => (Memory, RunningIndex) = (memory, index);

        public Piece Append(ReadOnlyMemory<byte> memory)
        {
            Piece next = new(memory, RunningIndex + Memory.Length);
            Next = next;
            return next;
        }
    }

    /// <summary>A writer whose blocks are no longer than they must be.</summary>
    private sealed class Writing(int block) : SerializationContext, IBufferWriter<byte>
    {
        private byte[] _block = [];

        public List<byte> Written { get; } = [];

        public int Announced { get; private set; }

        public override void SetPayloadLength(int payloadLength) => Announced = payloadLength;

        public override IBufferWriter<byte> GetBufferWriter() => this;

        public override void Complete()
        {
        }

        public void Advance(int count) => Written.AddRange(_block.AsSpan(0, count));

        public Memory<byte> GetMemory(int sizeHint = 0) => _block = new byte[Math.Max(block, sizeHint)];

        public Span<byte> GetSpan(int sizeHint = 0) => GetMemory(sizeHint).Span;
    }

    private sealed class Reading(ReadOnlySequence<byte> payload) : DeserializationContext
    {
        public override int PayloadLength => (int)payload.Length;

        public override ReadOnlySequence<byte> PayloadAsReadOnlySequence() => payload;
    }
}
