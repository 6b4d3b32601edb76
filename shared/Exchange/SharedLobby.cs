namespace Distributed.Exchange;

/// <summary>The segment that a coordinator shows to all its workers: the bell on which it waits.</summary>
public sealed class SharedLobby : IDisposable
{
    private readonly SharedSegment _segment;

    private SharedLobby(SharedSegment segment)
    {
        _segment = segment;
        Bell = new SharedBell(segment, 0);
    }

    public string Name => _segment.Name;

    /// <summary>The coordinator's: rung by workers that have something for it.</summary>
    public SharedBell Bell { get; }

    /// <inheritdoc cref="SharedSegment.Create" path="/exception"/>
    public static SharedLobby Create(string folder) => new(SharedSegment.Create(folder, SharedBell.Size));

    /// <inheritdoc cref="SharedSegment.Open" path="/exception"/>
    public static SharedLobby Open(string folder, string name)
    {
        SharedSegment segment = SharedSegment.Open(folder, name);
        if (segment.Size == SharedBell.Size)
            return new SharedLobby(segment);
        segment.Dispose();
        throw new IOException($"{name} is no lobby");
    }

    /// <summary>The coordinator's: takes the name away, but leaves the memory to whoever still uses it.</summary>
    public void Unlink() => _segment.Unlink();

    public void Dispose() => _segment.Dispose();
}
