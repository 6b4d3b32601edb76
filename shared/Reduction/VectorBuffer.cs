using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Distributed.Reduction;

/// <summary>A vector of float32 that can be calculated with and sent as it is: one piece of memory, 64-byte aligned, seen both ways.</summary>
public sealed class VectorBuffer
{
    // A vector that lies across two cache lines costs two accesses.
    private const int Alignment = 64;

    // Pinned: it lives as long as the run, and kernels take pointers into it.
    private readonly Memory<byte> _bytes;

    public unsafe VectorBuffer(int length)
    {
        Length = length;
        int bytes = checked(length * sizeof(float));
        byte[] array = GC.AllocateArray<byte>(checked(bytes + Alignment), pinned: true);
        nint start = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(array));
        _bytes = array.AsMemory((int)(-start & (Alignment - 1)), bytes);
    }

    /// <summary>Number of float32 values.</summary>
    public int Length { get; }

    /// <summary>The values.</summary>
    public Span<float> Values => MemoryMarshal.Cast<byte, float>(_bytes.Span);

    /// <summary>The same memory as bytes.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;
}
