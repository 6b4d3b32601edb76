using System.Globalization;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Optimizers;

namespace Distributed.Coordinator.Checkpoints;

/// <summary>Where checkpoints are written.</summary>
internal interface ICheckpointStore
{
    /// <summary>Writes a checkpoint, for as long as the disk takes, and removes those that are not needed any more.</summary>
    /// <returns>Its path and size in bytes.</returns>
    /// <exception cref="RunFailedException">A file cannot be written.</exception>
    /// <exception cref="IOException">The directory cannot be.</exception>
    /// <exception cref="UnauthorizedAccessException">The directory may not be.</exception>
    (string Path, long Bytes) Write(RunDefinition run, RunPosition position, float[] weights, IReadOnlyList<OptimizerVector> state);
}

/// <summary>
/// --checkpoint-dir: a directory a checkpoint, named for the steps done. One appears whole or not at all, whatever befalls
/// process, machine or disk, and the last <see cref="Kept"/> stay. One run at a time: the lock goes with the process.
/// </summary>
internal sealed class CheckpointFolder : ICheckpointStore, IDisposable
{
    public const int Kept = 3;

    private const string Prefix = "checkpoint-";
    private const string LockName = ".lock";
    private const string NameFormat = "D10";

    // What an IOException's HResult is when somebody else holds a file: EWOULDBLOCK on Unix.
    private const int LockedLinux = 11;
    private const int LockedMac = 35;
    private const int LockedWindows = unchecked((int)0x80070020);

    private readonly string _directory;
    private readonly FileStream _lock;

    // Names, oldest first: those that a damaged newest one may be replaced by.
    private readonly List<string> _good = [];

    private CheckpointFolder(string directory, FileStream held)
    {
        _directory = directory;
        _lock = held;
    }

    /// <summary>Opens or makes the directory that the options name, and takes away what an earlier run left unfinished.</summary>
    /// <returns>Null where they name none.</returns>
    /// <exception cref="ConfigurationException">It cannot be used, or holds checkpoints that nobody asked to go on from.</exception>
    public static CheckpointFolder? Open(RunOptions options)
    {
        if (options.CheckpointDirectory is not { } directory)
            return null;
        CheckpointFolder folder;
        try
        {
            Directory.CreateDirectory(directory);
            folder = new CheckpointFolder(directory, new FileStream(
                Path.Combine(directory, LockName), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1));
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            string fault = refusal.HResult is LockedLinux or LockedMac or LockedWindows ? "another run is using it" : FileFault.Describe(refusal);
            throw new ConfigurationException($"--checkpoint-dir {directory} cannot be used: {fault}", refusal);
        }

        try
        {
            if (!options.Resume && folder.Names().LastOrDefault() is { } left)
            {
                throw new ConfigurationException(
                    $"--checkpoint-dir {directory} holds {left} of an earlier run: --resume goes on from there; or give another directory");
            }

            folder.RemoveTemporaries();
            return folder;
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    /// <summary>Reads the newest checkpoint that is whole; null when there is none at all.</summary>
    /// <param name="onDamaged">Hears of each that is passed over: its path and what is wrong with it.</param>
    /// <exception cref="ConfigurationException">There are checkpoints, but not one is whole.</exception>
    public Checkpoint? ReadNewest(Action<string, string> onDamaged)
    {
        string[] names = Names();
        for (int i = names.Length - 1; i >= 0; i--)
        {
            string path = Path.Combine(_directory, names[i]);
            try
            {
                Checkpoint newest = Checkpoint.Read(path);
                _good.AddRange(names[..(i + 1)]);
                return newest;
            }
            catch (InvalidDataException fault)
            {
                onDamaged(path, fault.Message);
            }
        }

        return names.Length == 0
            ? null
            : throw new ConfigurationException($"--checkpoint-dir {_directory}: no checkpoint in it can be used; move them away to begin anew, or give another directory");
    }

    public (string Path, long Bytes) Write(RunDefinition run, RunPosition position, float[] weights, IReadOnlyList<OptimizerVector> state)
    {
        string name = Prefix + position.Steps.ToString(NameFormat, CultureInfo.InvariantCulture);
        string path = Path.Combine(_directory, name);
        string temporary = NewTemporary(name);
        try
        {
            Directory.CreateDirectory(temporary);
            long bytes = Checkpoint.Write(temporary, run, position, weights, state);
            DirectorySync.Flush(temporary);
            // Of the same step, from before a damage or with another report: directories cannot be renamed over one another.
            string? before = Directory.Exists(path) ? NewTemporary(name) : null;
            if (before is not null)
                Directory.Move(path, before);
            try
            {
                Directory.Move(temporary, path);
            }
            catch when (before is not null)
            {
                Directory.Move(before, path);
                throw;
            }

            DirectorySync.Flush(_directory);
            _good.Remove(name);
            _good.Add(name);
            Prune();
            return (path, bytes);
        }
        catch
        {
            Remove(temporary);
            throw;
        }
    }

    public void Dispose() => _lock.Dispose();

    /// <summary>All checkpoints, damaged or not, by their number of steps.</summary>
    private string[] Names() =>
    [
        .. new DirectoryInfo(_directory).EnumerateDirectories(Prefix + "*")
            .Select(static entry => entry.Name)
            .Where(static name => long.TryParse(name.AsSpan(Prefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out long steps)
                && name == Prefix + steps.ToString(NameFormat, CultureInfo.InvariantCulture))
            .Order(StringComparer.Ordinal),
    ];

    private void Prune()
    {
        if (_good.Count > Kept)
            _good.RemoveRange(0, _good.Count - Kept);
        foreach (string old in Names().Except(_good))
            Remove(Path.Combine(_directory, old));
        RemoveTemporaries();
    }

    private void RemoveTemporaries()
    {
        foreach (DirectoryInfo left in new DirectoryInfo(_directory).EnumerateDirectories($".{Prefix}*{AtomicFile.TemporarySuffix}"))
            Remove(left.FullName);
    }

    private string NewTemporary(string name) => Path.Combine(_directory, $".{name}.{Guid.NewGuid():N}{AtomicFile.TemporarySuffix}");

    private static void Remove(string directory)
    {
        try
        {
            if (Directory.Exists(directory))
                Directory.Delete(directory, recursive: true);
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            // It takes room and nothing else; the next checkpoint tries again.
        }
    }
}
