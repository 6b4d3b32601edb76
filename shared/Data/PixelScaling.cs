using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Distributed.Data;

/// <summary>Pixels from bytes to the network's floats.</summary>
public static class PixelScaling
{
    /// <summary>
    /// destination[i] = source[i] / 255. The division is the correctly rounded one of IEEE 754 in every lane and in the
    /// tail, so the bits are the same on every machine (a multiplication by 1/255 would differ in the last bit).
    /// </summary>
    /// <param name="destination">As long as the source, or longer; what lies behind is left alone.</param>
    public static void Scale(ReadOnlySpan<byte> source, Span<float> destination)
    {
        destination = destination[..source.Length];
        int i = 0;
        if (Vector128.IsHardwareAccelerated)
        {
            ref byte from = ref MemoryMarshal.GetReference(source);
            ref float to = ref MemoryMarshal.GetReference(destination);
            for (; i <= source.Length - Vector128<byte>.Count; i += Vector128<byte>.Count)
            {
                (Vector128<ushort> low, Vector128<ushort> high) = Vector128.Widen(Vector128.LoadUnsafe(ref from, (nuint)i));
                Store(low, ref to, i);
                Store(high, ref to, i + Vector128<ushort>.Count);
            }
        }

        for (; i < source.Length; i++)
            destination[i] = source[i] / 255f;
    }

    private static void Store(Vector128<ushort> pixels, ref float to, int index)
    {
        (Vector128<uint> low, Vector128<uint> high) = Vector128.Widen(pixels);
        Vector128<float> divisor = Vector128.Create(255f);
        (Vector128.ConvertToSingle(low.AsInt32()) / divisor).StoreUnsafe(ref to, (nuint)index);
        (Vector128.ConvertToSingle(high.AsInt32()) / divisor).StoreUnsafe(ref to, (nuint)index + 4);
    }
}
