using System.Runtime.InteropServices;
using Google.Protobuf;

namespace Distributed.Protos;

/// <summary>What both ends of the wire agree on. Vectors of float32 are little-endian, as they are in memory.</summary>
public static class TrainingWire
{
    /// <summary>Raised whenever an older peer would misunderstand a message.</summary>
    public const uint ProtocolVersion = 5;

    /// <summary>Room for everything in a message beside its one large field.</summary>
    public const int MessageOverhead = 64 * 1024;

    /// <summary>Data sets are cut into messages of about this size, well below gRPC's customary 4 MB.</summary>
    public const int DataChunkBytes = 1 << 20;

    static TrainingWire()
    {
        if (!BitConverter.IsLittleEndian)
            throw new PlatformNotSupportedException("vectors travel as little-endian float32, which this processor does not hold them in");
    }

    /// <summary>
    /// A message field over a buffer, not a copy of it: the buffer must stay as it is until the message is written.
    /// </summary>
    public static ByteString Wrap(ReadOnlyMemory<byte> buffer) => UnsafeByteOperations.UnsafeWrap(buffer);

    /// <summary>The float32 values of a received field.</summary>
    public static ReadOnlySpan<float> ReadVector(ReadOnlySpan<byte> field) => MemoryMarshal.Cast<byte, float>(field);
}
