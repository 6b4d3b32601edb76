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
    private readonly IMemoryOwner<byte>? _received;

    /// <summary>A frame to send.</summary>
    /// <param name="vector">Left as it is until the frame is written; empty: there is none.</param>
    /// <param name="isBfloat16">The values are bfloat16 numbers and travel as such, in two bytes each.</param>
    public Frame(TMessage message, ReadOnlyMemory<byte> vector = default, bool isBfloat16 = false)
    {
        Message = message;
        Vector = vector;
        IsBfloat16 = isBfloat16;
        Size = message.CalculateSize() + FrameFormat.VectorFieldSize(isBfloat16 ? vector.Length / 2 : vector.Length);
    }

    /// <summary>A frame that was read.</summary>
    internal Frame(TMessage message, IMemoryOwner<byte>? vector, bool isBfloat16, int size)
    {
        Message = message;
        IsBfloat16 = isBfloat16;
        _received = vector;
        Vector = vector?.Memory ?? default;
        Size = size;
    }

    /// <summary>The message but for its vector.</summary>
    public TMessage Message { get; }

    /// <summary>Little-endian float32; empty if there is none. Of a frame that was read, valid until <see cref="Release"/>.</summary>
    public ReadOnlyMemory<byte> Vector { get; }

    /// <summary>Whether the vector travels, or came, as bfloat16.</summary>
    public bool IsBfloat16 { get; }

    /// <summary>Where the vector was read to; null if it was not, or there is none.</summary>
    public IMemoryOwner<byte>? Received => _received;

    /// <summary>Bytes on the wire.</summary>
    public int Size { get; }

    /// <summary>A frame that was read without a vector, with one that came before it.</summary>
    /// <param name="vector">The frame's from now on.</param>
    /// <param name="isBfloat16">Whether it came as bfloat16.</param>
    public Frame<TMessage> With(IMemoryOwner<byte> vector, bool isBfloat16) => new(Message, vector, isBfloat16, Size);

    /// <summary>Gives the memory of a frame that was read back. Once.</summary>
    public void Release() => _received?.Dispose();
}

/// <summary>A message without a vector.</summary>
public static class Frame
{
    /// <summary>A frame to send.</summary>
    public static Frame<WorkerMessage> Of(WorkerMessage message) => new(message);

    /// <summary>A frame to send.</summary>
    public static Frame<CoordinatorMessage> Of(CoordinatorMessage message) => new(message);
}
