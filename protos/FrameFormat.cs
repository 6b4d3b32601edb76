using System.Buffers;
using Google.Protobuf;

namespace Distributed.Protos;

/// <summary>Writes frames to the wire and reads them from it.</summary>
internal static class FrameFormat
{
    // The fields of both messages, and their tags: in length-delimited form.
    private const uint VectorTag = (WorkerMessage.VectorFieldNumber << 3) | LengthDelimited;
    private const uint Bfloat16Tag = (WorkerMessage.Bfloat16VectorFieldNumber << 3) | LengthDelimited;
    private const int LengthDelimited = 2;
    private const int WireTypeMask = 7;

    // The writer's own blocks hold a few kilobytes, and would be asked for by the hundred.
    private const int BlockBytes = 1 << 16;
    private const int MaxVarintBytes = 5;

    // A step, a partial or a chunk of weights, without its vector.
    private const int MostRecycledBytes = 1024;

    /// <summary>Bytes that a vector takes up on the wire.</summary>
    public static int VectorFieldSize(int bytes) =>
        bytes == 0 ? 0 : checked(CodedOutputStream.ComputeUInt32Size(VectorTag) + CodedOutputStream.ComputeUInt32Size((uint)bytes) + bytes);

    public static void Write<TMessage>(Frame<TMessage> frame, IBufferWriter<byte> writer)
        where TMessage : class, IMessage<TMessage>, new()
    {
        frame.Message.WriteTo(writer);
        ReadOnlySpan<byte> vector = frame.Vector.Span;
        if (vector.IsEmpty)
            return;
        // How many bytes become one.
        int ratio = frame.IsBfloat16 ? 2 : 1;
        WriteVarint(frame.IsBfloat16 ? Bfloat16Tag : VectorTag, writer);
        WriteVarint((uint)(vector.Length / ratio), writer);
        while (!vector.IsEmpty)
        {
            Span<byte> block = writer.GetSpan(Math.Min(vector.Length / ratio, BlockBytes));
            // bfloat16 whole: in pairs of bytes.
            int length = Math.Min(vector.Length / ratio, block.Length / ratio * ratio);
            if (frame.IsBfloat16)
                Bfloat16Format.Narrow(vector[..(ratio * length)], block[..length]);
            else
                vector[..length].CopyTo(block);
            writer.Advance(length);
            vector = vector[(ratio * length)..];
        }
    }

    /// <param name="vectors">Gives the memory of a vector of so many bytes.</param>
    /// <param name="frames">The kinds of frames that are used again.</param>
    /// <exception cref="IOException">It is no message of this kind.</exception>
    public static Frame<TMessage> Read<TMessage>(ReadOnlySequence<byte> payload, Func<int, IMemoryOwner<byte>> vectors, FramePool<TMessage>[] frames)
        where TMessage : class, IMessage<TMessage>, new()
    {
        // Fields may come in any order, but only one vector: it takes memory. What is not the vector is Google.Protobuf's to read.
        ReadOnlySequence<byte> before = payload, vector = default, behind = default;
        bool isBfloat16 = false;
        SequenceReader<byte> reader = new(payload);
        while (!reader.End)
        {
            SequencePosition start = reader.Position;
            uint tag = ReadVarint(ref reader);
            if ((tag & WireTypeMask) != LengthDelimited)
                throw NotInOrder();
            uint length = ReadVarint(ref reader);
            bool isVector = tag is VectorTag or Bfloat16Tag;
            if (length > reader.Remaining || (isVector && (length == 0 || !vector.IsEmpty)))
                throw NotInOrder();
            if (isVector)
            {
                before = payload.Slice(payload.Start, start);
                vector = payload.Slice(reader.Position, length);
                behind = payload.Slice(vector.End);
                isBfloat16 = tag == Bfloat16Tag;
            }

            reader.Advance(length);
        }

        Frame<TMessage>? frame = behind.IsEmpty ? TryReadRecycled(before, frames) : null;
        if (frame is null)
        {
            TMessage message = new();
            Merge(message, before);
            Merge(message, behind);
            frame = new Frame<TMessage>(message, pool: null);
        }

        frame.Note(vector.IsEmpty ? null : ReadVector(vector, isBfloat16, vectors), isBfloat16, (int)payload.Length);
        return frame;
    }

    private static Frame<TMessage>? TryReadRecycled<TMessage>(ReadOnlySequence<byte> fields, FramePool<TMessage>[] frames)
        where TMessage : class, IMessage<TMessage>, new()
    {
        if (fields.Length is 0 or > MostRecycledBytes)
            return null;
        Span<byte> copy = stackalloc byte[MostRecycledBytes];
        scoped ReadOnlySpan<byte> wire = fields.FirstSpan;
        if (!fields.IsSingleSegment)
        {
            fields.CopyTo(copy);
            wire = copy[..(int)fields.Length];
        }

        foreach (FramePool<TMessage> pool in frames)
        {
            if (pool.TryRead(wire) is { } frame)
                return frame;
        }

        return null;
    }

    private static IMemoryOwner<byte> ReadVector(ReadOnlySequence<byte> field, bool isBfloat16, Func<int, IMemoryOwner<byte>> vectors)
    {
        int bytes = (int)field.Length;
        if (isBfloat16 && (bytes % sizeof(ushort) != 0 || bytes > int.MaxValue / 2))
            throw NotInOrder();
        IMemoryOwner<byte> vector = vectors(isBfloat16 ? 2 * bytes : bytes);
        if (isBfloat16)
            Bfloat16Format.Widen(field, vector.Memory.Span);
        else
            field.CopyTo(vector.Memory.Span);
        return vector;
    }

    private static void Merge(IMessage message, ReadOnlySequence<byte> fields)
    {
        if (fields.IsSingleSegment)
            message.MergeFrom(fields.FirstSpan);
        else
            message.MergeFrom(fields);
    }

    private static void WriteVarint(uint value, IBufferWriter<byte> writer)
    {
        Span<byte> bytes = writer.GetSpan(MaxVarintBytes);
        int length = 0;
        for (; value > 0x7f; value >>= 7)
            bytes[length++] = (byte)(value | 0x80);
        bytes[length++] = (byte)value;
        writer.Advance(length);
    }

    private static uint ReadVarint(ref SequenceReader<byte> reader)
    {
        ulong value = 0;
        for (int shift = 0; shift < 7 * MaxVarintBytes; shift += 7)
        {
            if (!reader.TryRead(out byte next))
                break;
            value |= (ulong)(next & 0x7f) << shift;
            if (next <= 0x7f)
                return value <= int.MaxValue ? (uint)value : throw NotInOrder();
        }

        throw NotInOrder();
    }

    private static IOException NotInOrder() => new("a message is not in order");
}
