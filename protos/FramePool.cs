using System.Collections.Concurrent;
using Google.Protobuf;

namespace Distributed.Protos;

/// <summary>Frames with messages of one kind, used again and again: each step has some, which would be garbage a step. Thread-safe.</summary>
/// <remarks>What a message holds when its frame is rented is of the last use.</remarks>
public sealed class FramePool<TMessage>
    where TMessage : class, IMessage<TMessage>, new()
{
    // A worker has up to eight partials with the coordinator; what is beyond this came in a burst.
    private const int MostKept = 1024;

    private readonly ConcurrentQueue<Frame<TMessage>> _free = new();
    private readonly Func<TMessage> _create;
    private readonly ReadInto _read;

    internal FramePool(Func<TMessage> create, ReadInto read)
    {
        _create = create;
        _read = read;
    }

    /// <summary>Reads into a message; false, and nothing is changed, if what is read is of another kind.</summary>
    internal delegate bool ReadInto(ReadOnlySpan<byte> wire, TMessage message);

    /// <summary>A frame to be filled and sent, given back by <see cref="Frame{TMessage}.Release"/>.</summary>
    public Frame<TMessage> Rent()
    {
        Frame<TMessage> frame = _free.TryDequeue(out Frame<TMessage>? free) ? free : new Frame<TMessage>(_create(), this);
        frame.IsLent = true;
        return frame;
    }

    /// <summary>A frame with what is read, if it is of this kind and no more than that; null if not.</summary>
    /// <exception cref="InvalidProtocolBufferException">It is not in order.</exception>
    internal Frame<TMessage>? TryRead(ReadOnlySpan<byte> wire)
    {
        Frame<TMessage> frame = Rent();
        try
        {
            if (_read(wire, frame.Message))
                return frame;
        }
        catch (InvalidDataException)
        {
            // It has kept fields that it does not know, and is not used again.
            return null;
        }

        Return(frame);
        return null;
    }

    /// <exception cref="InvalidOperationException">It has been returned before: two users of one frame would mix up their vectors.</exception>
    internal void Return(Frame<TMessage> frame)
    {
        if (!frame.IsLent)
            throw new InvalidOperationException("a frame has been released twice");
        frame.IsLent = false;
        if (_free.Count < MostKept)
            _free.Enqueue(frame);
    }
}

/// <summary>The kinds of frames that a step has.</summary>
public static class FramePools
{
    public static FramePool<CoordinatorMessage> Steps() =>
        new(static () => new CoordinatorMessage { Step = new Step() }, static (wire, message) => Recycled.TryRead(wire, message.Step));

    public static FramePool<CoordinatorMessage> Weights() =>
        new(static () => new CoordinatorMessage { Weights = new Weights() }, static (wire, message) => Recycled.TryRead(wire, message.Weights));

    public static FramePool<WorkerMessage> Partials() =>
        new(static () => new WorkerMessage { Partial = new Partial() }, static (wire, message) => Recycled.TryRead(wire, message.Partial));
}
