using System.Numerics;
using System.Runtime.InteropServices;
using Distributed.Models;

namespace Distributed.Coordinator.Training;

/// <summary>Looks at a gradient before it is added.</summary>
internal static class PartialCheck
{
    private const uint ExponentBits = 0x7F80_0000;

    /// <summary>Index of the first value that is infinite or not a number; -1 when all are finite.</summary>
    public static int FindNonFinite(ReadOnlySpan<float> values)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(values);
        Vector<uint> exponent = new(ExponentBits);
        int i = 0;
        for (; i <= bits.Length - Vector<uint>.Count; i += Vector<uint>.Count)
        {
            if (Vector.EqualsAny(new Vector<uint>(bits[i..]) & exponent, exponent))
                break;
        }

        for (; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i]))
                return i;
        }

        return -1;
    }

    /// <summary>The tensor that a parameter belongs to.</summary>
    public static string NameOf(ResolvedModel model, int parameter) =>
        model.Parameters.First(tensor => parameter < tensor.Offset + tensor.Length).Name;
}
