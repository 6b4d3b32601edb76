using System.Buffers;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Distributed.Protos;

/// <summary>
/// bfloat16 on the wire: the upper halves of float32 values whose lower halves are zeros. Nothing is rounded here, so nothing
/// is lost.
/// </summary>
internal static class Bfloat16Format
{
    private const int Half = 16;

    /// <param name="values">Float32 values that are bfloat16 numbers.</param>
    /// <param name="destination">Half as long.</param>
    public static void Narrow(ReadOnlySpan<byte> values, Span<byte> destination)
    {
        ReadOnlySpan<uint> from = MemoryMarshal.Cast<byte, uint>(values);
        Span<ushort> to = MemoryMarshal.Cast<byte, ushort>(destination);
        int i = 0;
        for (; i <= from.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector<uint> first = new(from[i..]), second = new(from[(i + Vector<uint>.Count)..]);
            Vector.Narrow(first >>> Half, second >>> Half).CopyTo(to[i..]);
        }

        for (; i < from.Length; i++)
            to[i] = (ushort)(from[i] >> Half);
    }

    /// <param name="halves">As the network brings them: a piece may end within a value.</param>
    /// <param name="destination">Float32 values: twice as long.</param>
    public static void Widen(ReadOnlySequence<byte> halves, Span<byte> destination)
    {
        Span<uint> to = MemoryMarshal.Cast<byte, uint>(destination);
        int? begun = null;
        foreach (ReadOnlyMemory<byte> piece in halves)
        {
            ReadOnlySpan<byte> bytes = piece.Span;
            if (bytes.IsEmpty)
                continue;
            if (begun is { } low)
            {
                to[0] = (uint)((bytes[0] << 8) | low) << Half;
                to = to[1..];
                bytes = bytes[1..];
                begun = null;
            }

            int whole = bytes.Length / sizeof(ushort);
            Widen(MemoryMarshal.Cast<byte, ushort>(bytes), to[..whole]);
            to = to[whole..];
            if (bytes.Length % sizeof(ushort) != 0)
                begun = bytes[^1];
        }
    }

    private static void Widen(ReadOnlySpan<ushort> from, Span<uint> to)
    {
        int i = 0;
        for (; i <= from.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(from[i..]), out Vector<uint> first, out Vector<uint> second);
            (first << Half).CopyTo(to[i..]);
            (second << Half).CopyTo(to[(i + Vector<uint>.Count)..]);
        }

        for (; i < from.Length; i++)
            to[i] = (uint)from[i] << Half;
    }
}
