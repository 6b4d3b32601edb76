using System.Buffers;

namespace Distributed.Exchange;

/// <summary>A part of a segment, where the framework wants memory. Keeps the segment's object, not its mapping, alive.</summary>
internal sealed unsafe class SegmentMemory(SharedSegment segment, long offset, int length) : MemoryManager<byte>
{
    public override Span<byte> GetSpan() => new(segment.At(offset, length), length);

    public override MemoryHandle Pin(int elementIndex = 0) => new(segment.At(offset, length) + elementIndex);

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
    }
}
