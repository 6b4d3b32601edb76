using System.Buffers;
using Google.Protobuf;

namespace Distributed.Protos;

/// <summary>A message of the stream and, beside it, the vector that belongs to it.</summary>
/// <remarks>
/// On the wire it is the message with the vector as its field 15, or 14 if it travels as bfloat16. Google.Protobuf would make a copy of its own of each,
/// hundreds of kilobytes of garbage a message; here a vector is read into memory that is used again and again.
/// </remarks>
public sealed class Frame<TMessage>
    where TMessage : class, IMessage<TMessage>, new()
{
    private readonly FramePool<TMessage>? _pool;

    /// <summary>A frame to send.</summary>
    /// <param name="vector">As <see cref="Carry"/> takes it.</param>
    /// <param name="isBfloat16">As above.</param>
    public Frame(TMessage message, ReadOnlyMemory<byte> vector = default, bool isBfloat16 = false)
    {
        Message = message;
        Carry(vector, isBfloat16);
    }

    /// <param name="pool">Gets it back; null: it lives but once.</param>
    internal Frame(TMessage message, FramePool<TMessage>? pool)
    {
        Message = message;
        _pool = pool;
    }

    /// <summary>The message but for its vector.</summary>
    public TMessage Message { get; }

    /// <summary>Little-endian float32; empty if there is none. Of a frame that was read, valid until <see cref="Release"/>.</summary>
    public ReadOnlyMemory<byte> Vector { get; private set; }

    /// <summary>Whether the vector travels, or came, as bfloat16.</summary>
    public bool IsBfloat16 { get; private set; }

    /// <summary>Where the vector was read to; null if it was not, or there is none.</summary>
    public IMemoryOwner<byte>? Received { get; private set; }

    /// <summary>Bytes on the wire.</summary>
    public int Size { get; private set; }

    /// <summary>Whether it is out of its pool.</summary>
    internal bool IsLent { get; set; }

    /// <summary>Makes it ready to be sent, its message being what it is to be.</summary>
    /// <param name="vector">Left as it is until the frame is written; empty: there is none.</param>
    /// <param name="isBfloat16">The values are bfloat16 numbers and travel as such, in two bytes each.</param>
    public void Carry(ReadOnlyMemory<byte> vector, bool isBfloat16)
    {
        Vector = vector;
        IsBfloat16 = isBfloat16;
        Size = Message.CalculateSize() + FrameFormat.VectorFieldSize(isBfloat16 ? vector.Length / 2 : vector.Length);
    }

    /// <summary>Gives a frame that was read without a vector one that came before it.</summary>
    /// <param name="vector">The frame's from now on.</param>
    /// <param name="isBfloat16">Whether it came as bfloat16.</param>
    public void Take(IMemoryOwner<byte> vector, bool isBfloat16) => Note(vector, isBfloat16, Size);

    /// <summary>Gives back its memory, and the frame itself if it is a pool's: it is nobody's from now on. Once.</summary>
    public void Release()
    {
        Received?.Dispose();
        Received = null;
        Vector = default;
        _pool?.Return(this);
    }

    /// <summary>It has been read.</summary>
    internal void Note(IMemoryOwner<byte>? vector, bool isBfloat16, int size)
    {
        IsBfloat16 = isBfloat16;
        Received = vector;
        Vector = vector?.Memory ?? default;
        Size = size;
    }
}

/// <summary>A message without a vector.</summary>
public static class Frame
{
    /// <summary>A frame to send.</summary>
    public static Frame<WorkerMessage> Of(WorkerMessage message) => new(message);

    /// <summary>A frame to send.</summary>
    public static Frame<CoordinatorMessage> Of(CoordinatorMessage message) => new(message);
}
