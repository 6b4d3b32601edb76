using System.Buffers.Binary;
using System.IO.Compression;
using System.Security.Cryptography;

namespace Distributed.Data;

/// <summary>
/// An array of unsigned bytes in the IDX format of the MNIST files, plain or gzipped: a big-endian magic number
/// 0x000008dd with dd the number of dimensions, one big-endian int32 a dimension, then the values, the last dimension
/// fastest (http://yann.lecun.com/exdb/mnist/).
/// </summary>
/// <param name="Path">Where it was read from.</param>
/// <param name="Extents">Size of each dimension: count, height, width and possibly channels; or the count alone.</param>
/// <param name="Values">The values in file order.</param>
public sealed record IdxFile(string Path, int[] Extents, byte[] Values)
{
    private const int UnsignedBytes = 0x08;
    private const int MaxDimensions = 4;

    // Deflate cannot do better than 1032 to 1, so a header that promises more is wrong whatever follows.
    private const long MaxDeflateRatio = 1032;

    public int Count => Extents[0];

    /// <summary>Reads images: three dimensions, or four with channels last.</summary>
    /// <exception cref="ConfigurationException">The file cannot be read or is not such a file.</exception>
    public static IdxFile ReadImages(string path) => Read(path, "images", "0x00000803 or, with channels, 0x00000804", 3, 4);

    /// <summary>Reads labels: one dimension.</summary>
    /// <exception cref="ConfigurationException">The file cannot be read or is not such a file.</exception>
    public static IdxFile ReadLabels(string path) => Read(path, "labels", "0x00000801", 1, 1);

    /// <summary>SHA-256 of the unpacked file, in lower-case hexadecimal.</summary>
    public string ComputeSha256()
    {
        Span<byte> header = stackalloc byte[4 * (1 + MaxDimensions)];
        header = header[..(4 * (1 + Extents.Length))];
        BinaryPrimitives.WriteInt32BigEndian(header, (UnsignedBytes << 8) | Extents.Length);
        for (int i = 0; i < Extents.Length; i++)
            BinaryPrimitives.WriteInt32BigEndian(header[(4 * (i + 1))..], Extents[i]);
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(header);
        hash.AppendData(Values);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static IdxFile Read(string path, string what, string magics, int minDimensions, int maxDimensions)
    {
        try
        {
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            bool isGzip = file.ReadByte() == 0x1f && file.ReadByte() == 0x8b;
            file.Position = 0;
            if (!isGzip)
                return Parse(file, path, what, magics, minDimensions, maxDimensions, file.Length);
            using GZipStream unpacked = new(file, CompressionMode.Decompress);
            return Parse(unpacked, path, what, magics, minDimensions, maxDimensions, file.Length * MaxDeflateRatio);
        }
        catch (InvalidDataException damage)
        {
            throw new ConfigurationException($"{path}: the gzip data is damaged or truncated", damage);
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new ConfigurationException($"{path}: cannot be read: {FileFault.Describe(refusal)}", refusal);
        }
    }

    private static IdxFile Parse(Stream stream, string path, string what, string magics, int minDimensions, int maxDimensions, long maxLength)
    {
        Span<byte> word = stackalloc byte[4];
        int read = stream.ReadAtLeast(word, 4, throwOnEndOfStream: false);
        if (read == 0)
            throw new ConfigurationException($"{path}: the file is empty");
        if (read < 4)
            throw new ConfigurationException($"{path}: truncated within its header");
        uint magic = BinaryPrimitives.ReadUInt32BigEndian(word);
        int dimensions = (int)(magic & 0xff);
        if (magic >> 8 != UnsignedBytes || dimensions < minDimensions || dimensions > maxDimensions)
            throw new ConfigurationException($"{path}: wrong magic number 0x{magic:x8}; a file of {what} begins with {magics}");

        int[] extents = new int[dimensions];
        for (int i = 0; i < dimensions; i++)
        {
            if (stream.ReadAtLeast(word, 4, throwOnEndOfStream: false) < 4)
                throw new ConfigurationException($"{path}: truncated within its header");
            extents[i] = BinaryPrimitives.ReadInt32BigEndian(word);
            if (extents[i] < 0)
                throw new ConfigurationException($"{path}: its header has a negative size, {extents[i]}");
        }

        long headerLength = 4 * (1 + dimensions);
        string size = dimensions == 1 ? "" : $" of {string.Join('x', extents[1..])}";
        UInt128 length = 1;
        foreach (int extent in extents)
            length *= (uint)extent;
        if (extents.Contains(0))
            throw new ConfigurationException($"{path}: holds no {what}: its header says {extents[0]:N0} {what}{size}");
        if (length > (UInt128)Array.MaxLength)
            throw new ConfigurationException($"{path}: {extents[0]:N0} {what}{size} are more than can be held in memory");
        string needed = $"{extents[0]:N0} {what}{size} need {(long)length + headerLength:N0} bytes";
        if ((long)length + headerLength > maxLength)
            throw new ConfigurationException($"{path}: truncated: {needed}, the file has {(stream is GZipStream ? "at most " : "")}{maxLength:N0}");

        byte[] values = new byte[(int)length];
        int available = stream.ReadAtLeast(values, values.Length, throwOnEndOfStream: false);
        if (available < values.Length)
            throw new ConfigurationException($"{path}: truncated: {needed}, the file has {available + headerLength:N0}");
        if (stream.ReadByte() >= 0)
            throw new ConfigurationException($"{path}: longer than its header says: {needed}");
        return new IdxFile(path, extents, values);
    }
}
