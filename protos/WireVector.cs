using System.Runtime.InteropServices;

namespace Distributed.Protos;

/// <summary>A vector of float32 whose memory can be put into a message as it is.</summary>
public sealed class WireVector(int length)
{
    // Pinned: it lives as long as the run, and kernels take pointers into it.
    private readonly byte[] _bytes = GC.AllocateArray<byte>(checked(length * sizeof(float)), pinned: true);

    public int Length { get; } = length;

    /// <summary>The values.</summary>
    public Span<float> Values => MemoryMarshal.Cast<byte, float>(_bytes.AsSpan());

    /// <summary>The same memory as it travels.</summary>
    public ReadOnlyMemory<byte> Bytes => _bytes;
}
