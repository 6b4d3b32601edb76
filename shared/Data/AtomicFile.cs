using System.Security;

namespace Distributed.Data;

/// <summary>
/// A file that appears whole or not at all: written under another name in the same directory, flushed to the disk and
/// then renamed. Disposed before <see cref="Commit"/>, it leaves nothing behind.
/// </summary>
/// <remarks>Whatever the file system refuses (no space, no permission) is a <see cref="RunFailedException"/> naming the file.</remarks>
public sealed class AtomicFile : IDisposable
{
    /// <summary>How the names of unfinished files end.</summary>
    public const string TemporarySuffix = ".partial";

    private readonly FileStream _stream;
    private readonly string _temporary;
    private bool _isCommitted;

    /// <summary>Begins a file, creating its directory if need be.</summary>
    public AtomicFile(string path)
    {
        Path = System.IO.Path.GetFullPath(path);
        string directory = System.IO.Path.GetDirectoryName(Path) ?? throw new RunFailedException($"cannot write {path}: that is a directory");
        _temporary = System.IO.Path.Combine(directory, $".{System.IO.Path.GetFileName(Path)}.{Guid.NewGuid():N}{TemporarySuffix}");
        _stream = Guarded(() =>
        {
            Directory.CreateDirectory(directory);
            return new FileStream(_temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16);
        });
    }

    /// <summary>Full path of the finished file.</summary>
    public string Path { get; }

    /// <summary>Writes a whole file in one go.</summary>
    public static void WriteAllBytes(string path, ReadOnlySpan<byte> content)
    {
        using AtomicFile file = new(path);
        file.Write(content);
        file.Commit();
    }

    /// <summary>Appends bytes.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        try
        {
            _stream.Write(bytes);
        }
        catch (Exception refusal) when (IsRefusal(refusal))
        {
            throw Failure(refusal);
        }
    }

    /// <summary>Puts the file in its place, over one that may be there. Nothing can be written afterwards.</summary>
    public void Commit()
    {
        Guarded(() =>
        {
            _stream.Flush(flushToDisk: true);
            _stream.Dispose();
            File.Move(_temporary, Path, overwrite: true);
            return _isCommitted = true;
        });
    }

    public void Dispose()
    {
        if (_isCommitted)
            return;
        try
        {
            _stream.Dispose();
        }
        catch (IOException)
        {
            // The last buffer does not fit on the disk either; the file goes away anyhow.
        }

        try
        {
            File.Delete(_temporary);
        }
        catch (Exception refusal) when (IsRefusal(refusal))
        {
            // Whatever kept the file from being written is already on its way to the user.
        }
    }

    private static bool IsRefusal(Exception exception) => exception is IOException or UnauthorizedAccessException or SecurityException;

    private T Guarded<T>(Func<T> action)
    {
        try
        {
            return action();
        }
        catch (Exception refusal) when (IsRefusal(refusal))
        {
            throw Failure(refusal);
        }
    }

    private RunFailedException Failure(Exception refusal) => new($"cannot write {Path}: {FileFault.Describe(refusal)}", refusal);
}
