using System.Runtime.InteropServices;

namespace Distributed.Reduction;

/// <summary>A vector of float32 that can be calculated with and sent as it is: one piece of memory, seen both ways.</summary>
public sealed class VectorBuffer
{
    // Pinned: it lives as long as the run, and kernels take pointers into it.
    private readonly byte[] _bytes;

    public VectorBuffer(int length)
    {
        Length = length;
        _bytes = GC.AllocateArray<byte>(checked(length * sizeof(float)), pinned: true);
    }

    /// <summary>Number of float32 values.</summary>
    public int Length { get; }

    /// <summary>The values.</summary>
    public Span<float> Values => MemoryMarshal.Cast<byte, float>(_bytes.AsSpan());

    /// <summary>The same memory as bytes.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;
}
