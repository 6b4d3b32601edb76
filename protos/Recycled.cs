using Google.Protobuf;

namespace Distributed.Protos;

/// <summary>
/// Reads the messages of which a step has one or more into objects that are used again: Google.Protobuf makes a new one
/// for each message within a message of alternatives, which would be garbage a step.
/// </summary>
public static class Recycled
{
    private const int LengthDelimited = 2;

    /// <summary>Reads a message if it is a step and nothing else; false, and nothing is changed, if not.</summary>
    /// <exception cref="InvalidProtocolBufferException">It is not in order.</exception>
    /// <exception cref="InvalidDataException">As above: more has been read into the object than it knows.</exception>
    public static bool TryRead(ReadOnlySpan<byte> message, Step step)
    {
        if (!TryFindAlone(message, CoordinatorMessage.StepFieldNumber, out ReadOnlySpan<byte> content))
            return false;
        Clear(step.Id);
        step.Nodes.Clear();
        step.WeightsCame = false;
        step.MergeFrom(content);
        return IsAllThere(step, content);
    }

    /// <summary>Reads a message if it is a chunk of weights and nothing else; false, and nothing is changed, if not.</summary>
    /// <exception cref="InvalidProtocolBufferException">It is not in order.</exception>
    /// <exception cref="InvalidDataException">As above: more has been read into the object than it knows.</exception>
    public static bool TryRead(ReadOnlySpan<byte> message, Weights weights)
    {
        if (!TryFindAlone(message, CoordinatorMessage.WeightsFieldNumber, out ReadOnlySpan<byte> content))
            return false;
        Clear(weights.Id);
        weights.Chunk = 0;
        weights.MergeFrom(content);
        return IsAllThere(weights, content);
    }

    /// <summary>Reads a message if it is a partial and nothing else; false, and nothing is changed, if not.</summary>
    /// <exception cref="InvalidProtocolBufferException">It is not in order.</exception>
    /// <exception cref="InvalidDataException">As above: more has been read into the object than it knows.</exception>
    public static bool TryRead(ReadOnlySpan<byte> message, Partial partial)
    {
        if (!TryFindAlone(message, WorkerMessage.PartialFieldNumber, out ReadOnlySpan<byte> content))
            return false;
        Clear(partial.Id);
        (partial.Node, partial.LossSum, partial.Correct, partial.Samples, partial.ComputeMicroseconds, partial.Slot, partial.Chunk) = (0, 0, 0, 0, 0, 0, 0);
        partial.MergeFrom(content);
        return IsAllThere(partial, content);
    }

    // What has its default value does not stand in a message. An id that is not there at all is then one of zeros, which no order
    // has, and the message's size more than was read: see below.
    private static void Clear(StepId? id)
    {
        if (id is not null)
            (id.Run, id.MembershipVersion, id.Epoch, id.Step) = (0, 0, 0, 0);
    }

    // Fields that it does not know stay in an object for good: it would grow with each message that has some.
    private static bool IsAllThere(IMessage message, ReadOnlySpan<byte> content) => message.CalculateSize() <= content.Length
        ? true
        : throw new InvalidDataException("a message in shared memory is not in order");

    /// <summary>The content of a message that consists of one field of one length byte or two.</summary>
    private static bool TryFindAlone(ReadOnlySpan<byte> message, int field, out ReadOnlySpan<byte> content)
    {
        content = default;
        if (message.Length < 2 || message[0] != ((field << 3) | LengthDelimited))
            return false;
        int length = message[1], start = 2;
        if (length > 0x7f)
        {
            if (message.Length < 3 || message[2] > 0x7f)
                return false;
            (length, start) = ((length & 0x7f) | (message[2] << 7), 3);
        }

        if (message.Length - start != length)
            return false;
        content = message[start..];
        return true;
    }
}
