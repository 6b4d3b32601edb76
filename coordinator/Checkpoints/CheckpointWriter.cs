using System.Diagnostics;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Checkpoints;

/// <summary>How a run's checkpoints stand: immutable, published whole.</summary>
/// <param name="Path">The last that was written; null when none was yet.</param>
/// <param name="Epoch">Of that one, from 1.</param>
/// <param name="Step">Steps done in that epoch.</param>
/// <param name="Time">When it was written.</param>
/// <param name="Seconds">How long that took.</param>
/// <param name="Bytes">Its size.</param>
/// <param name="LastError">Why the last attempt failed; null when it did not.</param>
internal sealed record CheckpointStatus(string? Path, int Epoch, int Step, DateTimeOffset Time, double Seconds, long Bytes, string? LastError);

/// <summary>
/// Says when a checkpoint is due, takes a copy of the state between two steps and writes it on a thread of its own. Its
/// methods are the step loop's; anyone may read <see cref="Latest"/>.
/// </summary>
internal sealed class CheckpointWriter
{
    private readonly ICheckpointStore _store;
    private readonly RunDefinition _run;
    private readonly RunJournal _journal;
    private readonly ILogger _log;
    private readonly float[] _weights;
    private OptimizerVector[] _state = [];
    private Task _writing = Task.CompletedTask;
    private bool _isDue;
    private RunPosition? _taken;
    private CheckpointStatus? _latest;

    /// <param name="start">Where the run begins; that need not be written again.</param>
    public CheckpointWriter(ICheckpointStore store, RunDefinition run, Checkpoint? start, RunJournal journal, ILogger log)
    {
        _store = store;
        _run = run;
        _taken = start?.Position;
        _journal = journal;
        _log = log;
        _weights = new float[run.Model.ParameterCount];
    }

    /// <summary>How the checkpoints stand; null before the first.</summary>
    public CheckpointStatus? Latest => Volatile.Read(ref _latest);

    /// <summary>After a step or an epoch: whether to <see cref="Take"/> the state now. One that is due waits while another is still being written.</summary>
    public bool IsDue(RunMoment moment, long steps)
    {
        int every = _run.Options.CheckpointEvery;
        _isDue |= moment == RunMoment.EpochEnded || (every > 0 && steps % every == 0);
        return _isDue && _writing.IsCompleted;
    }

    /// <summary>Copies the state and has it written. Only when the last one is.</summary>
    public void Take(RunPosition position, VectorBuffer weights, Optimizer optimizer)
    {
        if (!_writing.IsCompleted)
            throw new InvalidOperationException("the last checkpoint is still being written");
        _isDue = false;
        _taken = position;
        IReadOnlyList<OptimizerVector> state = optimizer.Vectors;
        if (_state.Length != state.Count)
            _state = [.. state.Select(static vector => new OptimizerVector(vector.Name, new float[vector.Values.Length]))];
        weights.Values.CopyTo(_weights);
        for (int i = 0; i < state.Count; i++)
            state[i].Values.CopyTo(_state[i].Values);
        _writing = Task.Factory.StartNew(() => Write(position), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>Has the last state written, unless it is already, and waits for it, but no longer than the disk is given.</summary>
    public async Task FinishAsync(RunPosition position, VectorBuffer weights, Optimizer optimizer, TimeSpan patience)
    {
        long start = Stopwatch.GetTimestamp();
        if (await IsWrittenWithinAsync(patience).ConfigureAwait(false) && IsNews(position))
        {
            Take(position, weights, optimizer);
            await IsWrittenWithinAsync(patience - Stopwatch.GetElapsedTime(start)).ConfigureAwait(false);
        }

        if (!_writing.IsCompleted)
            Fail(position, $"the disk has not taken it within {patience.TotalSeconds:0.#} s");
    }

    private bool IsNews(RunPosition position) =>
        position.Steps > 0
        && (_taken is null
            || Latest is { LastError: not null }
            || (position.Epoch, position.Sums.Steps, position.Reports.Count) != (_taken.Epoch, _taken.Sums.Steps, _taken.Reports.Count));

    private async Task<bool> IsWrittenWithinAsync(TimeSpan patience)
    {
        try
        {
            await _writing.WaitAsync(patience < TimeSpan.Zero ? TimeSpan.Zero : patience).ConfigureAwait(false);
            return true;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    private void Write(RunPosition position)
    {
        long start = Stopwatch.GetTimestamp();
        try
        {
            (string path, long bytes) = _store.Write(_run, position, _weights, _state);
            TimeSpan elapsed = Stopwatch.GetElapsedTime(start);
            Volatile.Write(ref _latest, new CheckpointStatus(
                path, position.Place.Epoch, position.Place.Step, DateTimeOffset.UtcNow, elapsed.TotalSeconds, bytes, LastError: null));
            CheckpointLog.Written(_log, path, bytes, (long)elapsed.TotalMilliseconds);
            _journal.Record(JournalKind.CheckpointWritten, null, $"{path} at {position}");
        }
        catch (Exception refusal) when (refusal is RunFailedException || FileFault.Is(refusal))
        {
            Fail(position, refusal is RunFailedException ? refusal.Message : FileFault.Describe(refusal));
        }
    }

    private void Fail(RunPosition position, string reason)
    {
        Volatile.Write(ref _latest, (Latest ?? new CheckpointStatus(null, 0, 0, default, 0, 0, null)) with { LastError = reason });
        CheckpointLog.Failed(_log, position.ToString(), reason);
        _journal.Record(JournalKind.CheckpointFailed, null, $"at {position}: {reason}");
    }
}

/// <summary>What the step loop has just come to the end of.</summary>
internal enum RunMoment
{
    StepEnded,
    EpochEnded,
}
