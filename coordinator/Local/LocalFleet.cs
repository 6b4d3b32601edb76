using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Local;

/// <summary>Orders to whoever runs the local worker processes; what becomes of them arrives in the <see cref="RunInbox"/>.</summary>
internal interface ILocalWorkers
{
    /// <summary>Starts a worker in the place of one that has ended. Does not wait.</summary>
    void Replace(string name);
}

/// <summary>How many local workers there are, and which that ended are replaced. Used by the step loop alone.</summary>
internal sealed class LocalFleet(RunOptions options, ILocalWorkers workers, RunJournal journal, ILogger log)
{
    private readonly RestartPolicy _policy = new(options.MaxRestarts);
    private readonly HashSet<string> _served = [];

    /// <summary>Processes that run or are being started.</summary>
    public int Running { get; private set; } = options.Workers;

    /// <summary>The worker of that name, local or not, has become a member.</summary>
    public void NoteMember(string name)
    {
        if (options.LocalWorkerNames().Contains(name))
            _served.Add(name);
    }

    /// <summary>A local worker has ended; whether another takes its place.</summary>
    public bool Replace(LocalWorkerExited exited)
    {
        if (!_policy.Replaces(exited.ExitCode, _served.Contains(exited.Name)))
        {
            Running--;
            Log.NotRestarted(log, exited.Name, exited.Description);
            return false;
        }

        Log.Restarted(log, exited.Name, exited.Description, _policy.Restarts, options.MaxRestarts);
        journal.Record(JournalKind.Restarted, exited.Name, $"it {exited.Description}; restart {_policy.Restarts} of at most {options.MaxRestarts}");
        workers.Replace(exited.Name);
        return true;
    }
}
