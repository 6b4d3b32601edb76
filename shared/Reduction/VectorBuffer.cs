using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Distributed.Reduction;

/// <summary>A vector of float32 that can be calculated with and sent as it is: one piece of memory, seen both ways.</summary>
public sealed class VectorBuffer
{
    // A cache line: vectors of 64 bytes that start within one would be read from two.
    private const int Alignment = 64;

    private readonly Memory<byte> _memory;

    /// <summary>Memory of its own, zeros, pinned: it lives as long as the run, and kernels take pointers into it.</summary>
    public unsafe VectorBuffer(int length)
    {
        int bytes = checked(length * sizeof(float));
        byte[] array = GC.AllocateArray<byte>(bytes + Alignment, pinned: true);
        nint start = (nint)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(array));
        _memory = array.AsMemory((int)(-start & (Alignment - 1)), bytes);
        Length = length;
    }

    /// <summary>Memory of somebody else's, such as a segment that processes share.</summary>
    /// <param name="memory">Fixed in its place, aligned to 64 bytes, a multiple of 4 bytes long.</param>
    public VectorBuffer(MemoryManager<byte> memory)
    {
        _memory = memory.Memory;
        Length = _memory.Length / sizeof(float);
    }

    /// <summary>Number of float32 values.</summary>
    public int Length { get; }

    /// <summary>The values.</summary>
    public Span<float> Values => MemoryMarshal.Cast<byte, float>(_memory.Span);

    /// <summary>The same memory as bytes.</summary>
    public ReadOnlyMemory<byte> Bytes => _memory;

    /// <summary>The same, to write to.</summary>
    internal Memory<byte> WritableBytes => _memory;
}
