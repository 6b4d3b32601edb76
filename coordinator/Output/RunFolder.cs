using System.Globalization;

namespace Distributed.Coordinator.Output;

/// <summary>Where a run leaves its results: made before training starts, so that a long run does not end at a folder it cannot write.</summary>
internal sealed class RunFolder
{
    private RunFolder(string directory, bool isNew)
    {
        Directory = directory;
        IsNew = isNew;
    }

    public string Directory { get; }

    private bool IsNew { get; }

    /// <param name="directory">--out; null for runs/ and the time.</param>
    /// <exception cref="ConfigurationException">It cannot be made or written.</exception>
    public static RunFolder Open(string? directory, DateTimeOffset now)
    {
        string path = directory ?? NewName(now);
        bool isNew = !System.IO.Directory.Exists(path);
        try
        {
            System.IO.Directory.CreateDirectory(path);
            string probe = Path.Combine(path, $".probe-{Guid.NewGuid():N}");
            File.WriteAllBytes(probe, []);
            File.Delete(probe);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ConfigurationException(
                $"--out {path} cannot be written: {(exception is UnauthorizedAccessException ? "permission denied" : exception.Message.TrimEnd('.'))}", exception);
        }

        return new RunFolder(path, isNew);
    }

    /// <summary>Takes back a folder that was made for nothing.</summary>
    public void RemoveIfEmpty()
    {
        if (IsNew && !System.IO.Directory.EnumerateFileSystemEntries(Directory).Any())
            System.IO.Directory.Delete(Directory);
    }

    private static string NewName(DateTimeOffset now)
    {
        string name = Path.Combine("runs", now.ToString("yyyy-MM-dd_HH-mm-ss", CultureInfo.InvariantCulture));
        string path = name;
        for (int number = 2; System.IO.Directory.Exists(path); number++)
            path = $"{name}-{number}";
        return path;
    }
}
