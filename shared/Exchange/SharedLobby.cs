using System.Security.Cryptography;

namespace Distributed.Exchange;

/// <summary>
/// The segment that a coordinator shows to all its workers: a secret by which a worker proves that it sees the same
/// memory, and the bell on which the coordinator waits.
/// </summary>
public sealed unsafe class SharedLobby : IDisposable
{
    /// <summary>Bytes of the secret.</summary>
    public const int ProofBytes = 32;

    private const int BellOffset = 64;

    private readonly SharedSegment _segment;

    private SharedLobby(SharedSegment segment)
    {
        _segment = segment;
        Bell = new SharedBell(segment, BellOffset);
    }

    public string Path => _segment.Path;

    /// <summary>The coordinator's: rung by workers that have something for it.</summary>
    public SharedBell Bell { get; }

    /// <summary>The secret.</summary>
    public byte[] Proof => new ReadOnlySpan<byte>(_segment.At(0, ProofBytes), ProofBytes).ToArray();

    /// <inheritdoc cref="SharedSegment.Create" path="/exception"/>
    public static SharedLobby Create(string folder)
    {
        SharedSegment segment = SharedSegment.Create(folder, BellOffset + SharedBell.Size);
        RandomNumberGenerator.Fill(new Span<byte>(segment.At(0, ProofBytes), ProofBytes));
        return new SharedLobby(segment);
    }

    /// <inheritdoc cref="SharedSegment.Open" path="/exception"/>
    public static SharedLobby Open(string path) => new(SharedSegment.Open(path));

    public void Dispose() => _segment.Dispose();
}
