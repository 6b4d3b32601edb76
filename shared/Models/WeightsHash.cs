using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Distributed.Models;

/// <summary>weights_sha256, the name of a set of weights.</summary>
public static class WeightsHash
{
    /// <summary>SHA-256 over all parameters as little-endian float32, in lower-case hexadecimal.</summary>
    /// <param name="parameters">In <see cref="ResolvedModel.Parameters"/> order.</param>
    public static string Sha256(ReadOnlySpan<float> parameters) =>
        Convert.ToHexStringLower(SHA256.HashData(LittleEndianBytes(parameters)));

    /// <summary>The values as they are stored: little-endian float32; on most machines the memory itself.</summary>
    internal static ReadOnlySpan<byte> LittleEndianBytes(ReadOnlySpan<float> values)
    {
        ReadOnlySpan<byte> bytes = MemoryMarshal.AsBytes(values);
        if (BitConverter.IsLittleEndian)
            return bytes;
        byte[] swapped = new byte[bytes.Length];
        BinaryPrimitives.ReverseEndianness(MemoryMarshal.Cast<byte, int>(bytes), MemoryMarshal.Cast<byte, int>(swapped.AsSpan()));
        return swapped;
    }
}
