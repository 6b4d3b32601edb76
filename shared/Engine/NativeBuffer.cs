using System.Runtime.InteropServices;

namespace Distributed.Engine;

/// <summary>Float32 memory outside the garbage collector's reach: 64-byte aligned, zero at first, never moved.</summary>
internal sealed unsafe class NativeBuffer : IDisposable
{
    private float* _pointer;

    public NativeBuffer(int length)
    {
        Length = length;
        nuint bytes = (nuint)Math.Max(length, 1) * sizeof(float);
        _pointer = (float*)NativeMemory.AlignedAlloc(bytes, 64);
        NativeMemory.Clear(_pointer, bytes);
    }

    ~NativeBuffer() => Free();

    public int Length { get; }

    public float* Pointer => _pointer;

    public Span<float> Span => new(_pointer, Length);

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
    }
}
