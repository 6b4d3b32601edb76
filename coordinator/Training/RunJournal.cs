using System.Text.Json.Serialization;
using Distributed.Coordinator.Status;

namespace Distributed.Coordinator.Training;

/// <summary>What kind of thing befell a run. Their names in snake case are part of the status endpoint's contract.</summary>
[JsonConverter(typeof(SnakeCaseEnum<JournalKind>))]
internal enum JournalKind
{
    /// <summary>A worker has joined.</summary>
    Joined,

    /// <summary>A worker was lost, given up, or left.</summary>
    Evicted,

    /// <summary>A worker was refused at the handshake.</summary>
    RefusedWorker,

    /// <summary>A partial was refused before it was added.</summary>
    RefusedPartial,

    /// <summary>Shards passed from one worker to another.</summary>
    LeasesMoved,

    /// <summary>A local worker that had died was started again.</summary>
    Restarted,

    /// <summary>Too few workers are there to go on.</summary>
    Paused,

    /// <summary>Enough workers are there again.</summary>
    Continued,

    /// <summary>A checkpoint was written.</summary>
    CheckpointWritten,

    /// <summary>A checkpoint could not be written, or was found damaged.</summary>
    CheckpointFailed,

    /// <summary>The run went on from a checkpoint.</summary>
    Resumed,

    /// <summary>The run was told to stop.</summary>
    Stopping,
}

/// <summary>One thing that befell a run.</summary>
/// <param name="Worker">The name of the worker concerned, if one is.</param>
/// <param name="Text">A sentence for people.</param>
internal sealed record JournalEntry(long Number, DateTimeOffset Time, JournalKind Kind, string? Worker, string Text);

/// <summary>
/// What befell a run, for those who watch it: the last <see cref="Kept"/> entries, and how many there have been of each
/// kind. Written by any thread; reading never holds up a writer for longer than a copy of the list.
/// </summary>
internal sealed class RunJournal(TimeProvider time)
{
    public const int Kept = 100;

    private readonly Lock _lock = new();
    private readonly Queue<JournalEntry> _entries = new(Kept);
    private readonly long[] _counts = new long[Enum.GetValues<JournalKind>().Length];
    private long _number;

    public void Record(JournalKind kind, string? worker, string text)
    {
        lock (_lock)
        {
            if (_entries.Count == Kept)
                _entries.Dequeue();
            _entries.Enqueue(new JournalEntry(++_number, time.GetUtcNow(), kind, worker, text));
            _counts[(int)kind]++;
        }
    }

    /// <summary>The last entries, oldest first.</summary>
    public JournalEntry[] Latest()
    {
        lock (_lock)
            return [.. _entries];
    }

    /// <summary>How many entries of a kind there have been since the start.</summary>
    public long Count(JournalKind kind)
    {
        lock (_lock)
            return _counts[(int)kind];
    }
}
