using System.Buffers;
using System.Security.Cryptography;

namespace Distributed.Data.Fetching;

/// <summary>A file on its way into the cache: it gets there only if every byte is the published one.</summary>
internal sealed class VerifiedFile(string directory, CatalogFile expected) : IDisposable
{
    private const int BufferLength = 1 << 16;

    private readonly AtomicFile _file = new(Path.Combine(directory, expected.Name));
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private long _length;

    /// <summary>Takes everything a stream has, then checks it and puts the file in its place.</summary>
    /// <exception cref="SourceFaultException">It is not the published file.</exception>
    /// <exception cref="RunFailedException">The cache cannot be written.</exception>
    public static async Task CopyAsync(Stream content, CatalogFile expected, string directory, CancellationToken cancellation)
    {
        using VerifiedFile target = new(directory, expected);
        byte[] buffer = ArrayPool<byte>.Shared.Rent(BufferLength);
        try
        {
            int count;
            while ((count = await content.ReadAsync(buffer, cancellation).ConfigureAwait(false)) > 0)
                target.Write(buffer.AsSpan(0, count));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        target.Complete();
    }

    private void Write(ReadOnlySpan<byte> bytes)
    {
        _length += bytes.Length;
        if (_length > expected.Length)
            throw new SourceFaultException($"{expected.Name}: longer than the {expected.Length:N0} bytes it should have");
        _hash.AppendData(bytes);
        _file.Write(bytes);
    }

    private void Complete()
    {
        if (_length < expected.Length)
            throw new SourceFaultException($"{expected.Name}: truncated, {_length:N0} of {expected.Length:N0} bytes");
        string sum = Convert.ToHexStringLower(_hash.GetHashAndReset());
        if (sum != expected.Sha256)
            throw new SourceFaultException($"{expected.Name}: wrong content, its SHA-256 is {sum}, expected {expected.Sha256}");
        _file.Commit();
    }

    public void Dispose()
    {
        _file.Dispose();
        _hash.Dispose();
    }
}
