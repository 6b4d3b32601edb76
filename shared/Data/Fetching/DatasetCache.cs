using System.Security.Cryptography;

namespace Distributed.Data.Fetching;

/// <summary>The user's cache of one published data set: a directory of unpacked, verified files.</summary>
internal sealed class DatasetCache(string root, CatalogEntry entry)
{
    private const string LockName = ".lock";
    private static readonly TimeSpan s_lockRetry = TimeSpan.FromMilliseconds(100);

    public string Directory { get; } = Path.Combine(Path.GetFullPath(root), entry.Name);

    /// <summary>
    /// Where caches are: $DISTRIBUTED_CACHE_DIR; else, by the platform's custom, $XDG_CACHE_HOME or ~/.cache,
    /// ~/Library/Caches, or the local application data on Windows, and in it distributed-training/datasets.
    /// </summary>
    public static string DefaultRoot()
    {
        if (Environment.GetEnvironmentVariable(DatasetSource.CacheVariable) is { Length: > 0 } named)
            return named;
        string home = Environment.GetFolderPath(Environment.SpecialFolder.UserProfile);
        string? caches =
            OperatingSystem.IsWindows() ? Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData)
            : Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } xdg && Path.IsPathRooted(xdg) ? xdg
            : home.Length == 0 ? null
            : Path.Combine(home, OperatingSystem.IsMacOS() ? "Library/Caches" : ".cache");
        if (string.IsNullOrEmpty(caches))
            throw new RunFailedException($"there is no home directory to keep data sets in; name a directory in {DatasetSource.CacheVariable} or pass --data-dir");
        return Path.Combine(caches, "distributed-training", "datasets");
    }

    /// <summary>Whether there is a file under each name, good or not; gzipped ones are the user's own doing.</summary>
    public bool HasAllNames => entry.Files.All(file => Path.Combine(Directory, file.Name) is { } path && (File.Exists(path) || File.Exists(path + ".gz")));

    /// <summary>The files that are not there, or not as published; the latter are told to <paramref name="report"/>.</summary>
    public List<CatalogFile> FindMissing(Action<string> report)
    {
        List<CatalogFile> missing = [];
        foreach (CatalogFile file in entry.Files)
        {
            string path = Path.Combine(Directory, file.Name);
            if (!File.Exists(path))
            {
                missing.Add(file);
            }
            else if (Fault(path, file) is { } fault)
            {
                missing.Add(file);
                report($"{path}: {fault}; fetching it again");
            }
        }

        return missing;
    }

    /// <summary>
    /// Keeps other processes from fetching the same data set. Where the file system has no locks they may fetch it
    /// twice, and still no file is ever seen half-written.
    /// </summary>
    /// <param name="waiting">Called once if somebody else holds the lock.</param>
    public async Task<IDisposable> LockAsync(Action waiting, CancellationToken cancellation)
    {
        string path = Path.Combine(Directory, LockName);
        try
        {
            System.IO.Directory.CreateDirectory(Directory);
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw Unusable(refusal);
        }

        for (bool isFirst = true; ; isFirst = false)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
            }
            catch (IOException held) when (IsHeld(held))
            {
                // Only polling works across processes on every platform.
                if (isFirst)
                    waiting();
            }
            catch (Exception refusal) when (FileFault.Is(refusal))
            {
                throw Unusable(refusal);
            }

            await Task.Delay(s_lockRetry, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Removes what processes that were killed have left. The lock must be held.</summary>
    public void RemoveLeftovers()
    {
        foreach (string path in System.IO.Directory.EnumerateFiles(Directory, ".*" + AtomicFile.TemporarySuffix))
        {
            try
            {
                File.Delete(path);
            }
            catch (Exception refusal) when (FileFault.Is(refusal))
            {
                // It only takes up room.
            }
        }
    }

    private static string? Fault(string path, CatalogFile file)
    {
        try
        {
            using FileStream stream = File.OpenRead(path);
            if (stream.Length != file.Length)
                return $"{stream.Length:N0} bytes instead of {file.Length:N0}";
            return Convert.ToHexStringLower(SHA256.HashData(stream)) == file.Sha256 ? null : "wrong SHA-256";
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            return $"cannot be read: {FileFault.Describe(refusal)}";
        }
    }

    /// <summary>Whether an open failed because somebody else has the file open, by the error number of the platform.</summary>
    private static bool IsHeld(IOException exception) => exception.HResult switch
    {
        unchecked((int)0x80070020) => OperatingSystem.IsWindows(), // ERROR_SHARING_VIOLATION
        11 => OperatingSystem.IsLinux(), // EWOULDBLOCK
        35 => OperatingSystem.IsMacOS() || OperatingSystem.IsFreeBSD(), // EWOULDBLOCK
        _ => false,
    };

    private RunFailedException Unusable(Exception refusal) => new(
        $"the cache of data sets cannot be written: {Directory}: {FileFault.Describe(refusal)}; name another directory in {DatasetSource.CacheVariable} or pass --data-dir",
        refusal);
}
