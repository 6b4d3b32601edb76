using System.Buffers.Binary;

namespace Distributed.Exchange;

/// <summary>
/// Messages from one process to another through memory that they share: one writer, one reader, each of which may die
/// at any moment. A message is seen whole or not at all, since the count of written bytes moves only behind it.
/// </summary>
/// <remarks>Layout: bytes written, bytes read (each on a cache line of its own), then the bytes, in a circle.</remarks>
public sealed unsafe class SharedRing
{
    private const int Line = 64;
    private const int Header = 2 * Line;
    private const int LengthBytes = sizeof(int);

    private readonly SharedSegment _segment;
    private readonly long* _written;
    private readonly long* _read;
    private readonly byte* _bytes;
    private readonly int _capacity;

    /// <param name="offset">Bytes from the segment's start, a multiple of 64; zeros at first.</param>
    /// <param name="capacity">Bytes of messages that fit, a power of two.</param>
    public SharedRing(SharedSegment segment, int offset, int capacity)
    {
        if (capacity < Line || (capacity & (capacity - 1)) != 0)
            throw new ArgumentOutOfRangeException(nameof(capacity), "must be a power of two of at least 64");
        _segment = segment;
        _capacity = capacity;
        byte* start = segment.At(offset, SizeOf(capacity));
        _written = (long*)start;
        _read = (long*)(start + Line);
        _bytes = start + Header;
    }

    /// <summary>Bytes that a ring takes up.</summary>
    public static int SizeOf(int capacity) => Header + capacity;

    /// <summary>Adds a message; false if there is no room for it.</summary>
    public bool TryWrite(ReadOnlySpan<byte> message)
    {
        long written = *_written;
        long used = written - Volatile.Read(ref *_read);
        if (used < 0 || message.Length > _capacity - LengthBytes - used)
            return false;
        Span<byte> length = stackalloc byte[LengthBytes];
        BinaryPrimitives.WriteInt32LittleEndian(length, message.Length);
        Copy(written, length);
        Copy(written + LengthBytes, message);
        Volatile.Write(ref *_written, written + LengthBytes + message.Length);
        GC.KeepAlive(_segment);
        return true;
    }

    /// <summary>Takes the next message, if there is one.</summary>
    /// <param name="buffer">Grown if need be.</param>
    /// <param name="length">Its bytes, at the buffer's start.</param>
    /// <exception cref="InvalidDataException">The other side has written nonsense.</exception>
    public bool TryRead(ref byte[] buffer, out int length)
    {
        long read = *_read;
        long available = Volatile.Read(ref *_written) - read;
        length = 0;
        if (available == 0)
            return false;
        if (available is < LengthBytes || available > _capacity)
            throw new InvalidDataException("a ring in shared memory is not in order");
        Span<byte> prefix = stackalloc byte[LengthBytes];
        Take(read, prefix);
        length = BinaryPrimitives.ReadInt32LittleEndian(prefix);
        if (length < 0 || length > available - LengthBytes)
            throw new InvalidDataException("a message in shared memory is not in order");
        if (buffer.Length < length)
            buffer = new byte[Math.Max(length, 2 * buffer.Length)];
        Take(read + LengthBytes, buffer.AsSpan(0, length));
        Volatile.Write(ref *_read, read + LengthBytes + length);
        GC.KeepAlive(_segment);
        return true;
    }

    private void Copy(long position, ReadOnlySpan<byte> bytes)
    {
        int at = (int)(position & (_capacity - 1));
        int first = Math.Min(bytes.Length, _capacity - at);
        bytes[..first].CopyTo(new Span<byte>(_bytes + at, first));
        bytes[first..].CopyTo(new Span<byte>(_bytes, _capacity));
    }

    private void Take(long position, Span<byte> bytes)
    {
        int at = (int)(position & (_capacity - 1));
        int first = Math.Min(bytes.Length, _capacity - at);
        new ReadOnlySpan<byte>(_bytes + at, first).CopyTo(bytes);
        new ReadOnlySpan<byte>(_bytes, bytes.Length - first).CopyTo(bytes[first..]);
    }
}
