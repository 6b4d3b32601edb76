using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Security;

/// <summary>Tells of callers that were refused, but of so many a minute: a stranger is not to fill the log or sweep the journal.</summary>
internal sealed class RefusalLog(RunJournal journal, TimeProvider time, ILogger<RefusalLog> log)
{
    public const int MostPerMinute = 20;

    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    private readonly Lock _lock = new();
    private long _start = time.GetTimestamp();
    private int _reported;
    private long _silent;

    /// <param name="name">The caller's, if it can be shown.</param>
    public void Report(string name, string address, string reason)
    {
        if (!IsToBeTold(out long silent))
            return;
        string text = silent == 0 ? reason : $"{reason} (and {silent} more that were not told of)";
        Log.Refused(log, name, address, text);
        journal.Record(JournalKind.RefusedWorker, name, text);
    }

    private bool IsToBeTold(out long silent)
    {
        lock (_lock)
        {
            if (time.GetElapsedTime(_start) >= Minute)
                (_start, _reported) = (time.GetTimestamp(), 0);
            bool isToBeTold = _reported < MostPerMinute;
            silent = _silent;
            (_reported, _silent) = isToBeTold ? (_reported + 1, 0) : (_reported, _silent + 1);
            return isToBeTold;
        }
    }
}
