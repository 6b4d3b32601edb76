using System.IO.MemoryMappedFiles;

namespace Distributed.Exchange;

/// <summary>
/// Memory that processes of one host share: a file, private to its user, in a file system that is memory. Each process
/// that has it open holds a lock on it, by which others tell a crashed run's from one in use.
/// </summary>
public sealed unsafe class SharedSegment : IDisposable
{
    /// <summary>How the names of all segments begin.</summary>
    public const string Prefix = "distributed-training-";

    // A segment is locked a moment after it appears: younger ones are nobody's business.
    private static readonly TimeSpan Youth = TimeSpan.FromSeconds(10);

    // Not exclusive, so it can be opened by several; on Unix it takes a lock that keeps others from opening it exclusively.
    private const FileShare Shared = FileShare.ReadWrite | FileShare.Delete;

    private static readonly System.Buffers.SearchValues<char> s_hexDigits = System.Buffers.SearchValues.Create("0123456789abcdef");

    private readonly FileStream _file;
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;
    private readonly bool _isOwner;
    private bool _isUnlinked;
    private bool _isDisposed;

    private SharedSegment(FileStream file, bool isOwner)
    {
        _file = file;
        _isOwner = isOwner;
        Size = file.Length;
        try
        {
            _map = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
            _view = _map.CreateViewAccessor(0, Size, MemoryMappedFileAccess.ReadWrite);
        }
        catch
        {
            _map?.Dispose();
            file.Dispose();
            throw;
        }

        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    /// <summary>Its file's, within the folder.</summary>
    public string Name => System.IO.Path.GetFileName(_file.Name);

    /// <summary>Bytes.</summary>
    public long Size { get; }

    /// <summary>
    /// Where segments go: the folder named by DISTRIBUTED_SHARED_MEMORY_DIR, else /dev/shm; null where there is none,
    /// or no <see cref="SharedBell"/>.
    /// </summary>
    public static string? Folder()
    {
        if (!SharedBell.IsSupported)
            return null;
        string folder = Environment.GetEnvironmentVariable("DISTRIBUTED_SHARED_MEMORY_DIR") is { Length: > 0 } named ? named : "/dev/shm";
        return Directory.Exists(folder) ? folder : null;
    }

    /// <summary>Creates a segment of zeros, its memory reserved, readable by this user alone.</summary>
    /// <param name="folder">A folder in memory.</param>
    /// <param name="size">Bytes.</param>
    /// <exception cref="IOException">There is no room, or no right.</exception>
    /// <exception cref="UnauthorizedAccessException">No right.</exception>
    public static SharedSegment Create(string folder, long size)
    {
        string path = System.IO.Path.Combine(folder, $"{Prefix}{Guid.NewGuid():N}");
        FileStreamOptions options = new()
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = Shared,
            BufferSize = 0,
            // Reserved now: memory that is not there when it is first written to would end the process.
            PreallocationSize = size,
        };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        FileStream file = new(path, options);
        try
        {
            file.SetLength(size);
            return new SharedSegment(file, isOwner: true);
        }
        catch
        {
            file.Dispose();
            File.Delete(path);
            throw;
        }
    }

    /// <summary>Opens a segment that another process has created.</summary>
    /// <param name="folder">This process's own idea of where segments are.</param>
    /// <param name="name">As the other process gave it; nothing but a segment's name is taken.</param>
    /// <exception cref="IOException">It is not there, or cannot be mapped.</exception>
    /// <exception cref="UnauthorizedAccessException">It is another user's.</exception>
    public static SharedSegment Open(string folder, string name)
    {
        if (!name.StartsWith(Prefix, StringComparison.Ordinal) || name.AsSpan(Prefix.Length).ContainsAnyExcept(s_hexDigits))
            throw new IOException($"'{name}' is not the name of a segment");
        return new(new FileStream(System.IO.Path.Combine(folder, name), FileMode.Open, FileAccess.ReadWrite, Shared, 0), isOwner: false);
    }

    /// <summary>Removes what processes that were killed have left in a folder.</summary>
    public static void RemoveStale(string folder)
    {
        foreach (string path in Directory.EnumerateFiles(folder, Prefix + "*"))
        {
            try
            {
                if (DateTime.UtcNow - File.GetLastWriteTimeUtc(path) < Youth)
                    continue;
                using FileStream unlocked = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 0);
                File.Delete(path);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                // In use, another user's, or just gone.
            }
        }
    }

    /// <summary>Memory within the segment.</summary>
    /// <exception cref="ArgumentOutOfRangeException">It reaches past its end.</exception>
    public byte* At(long offset, long length)
    {
        ObjectDisposedException.ThrowIf(_isDisposed, this);
        if (offset < 0 || length < 0 || offset > Size - length)
            throw new ArgumentOutOfRangeException(nameof(offset), $"{length} bytes at {offset} are not within {Size}");
        return _start + offset;
    }

    /// <summary>Takes its name away: nobody can open it any more, and nothing is left of it when its last user has gone.</summary>
    public void Unlink()
    {
        if (_isUnlinked || !_isOwner)
            return;
        _isUnlinked = true;
        try
        {
            File.Delete(_file.Name);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The folder went away; so has the file.
        }
    }

    public void Dispose()
    {
        if (_isDisposed)
            return;
        Unlink();
        _isDisposed = true;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
        _file.Dispose();
    }
}
