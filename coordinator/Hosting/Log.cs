namespace Distributed.Coordinator.Hosting;

/// <summary>What the coordinator tells whoever reads its log. Event ids are stable.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Warning, "Refused worker {Name} at {Address}: {Reason}")]
    public static partial void Refused(ILogger logger, string name, string address, string reason);

    [LoggerMessage(EventId = 2, Message = "Worker {Name} joined as {WorkerId} with {Threads} threads, {InstructionSet}")]
    public static partial void Joined(ILogger logger, LogLevel level, string name, int workerId, int threads, string instructionSet);

    [LoggerMessage(3, LogLevel.Warning, "Lost worker {Name}: {Reason}; its shards go to the others")]
    public static partial void Lost(ILogger logger, string name, string reason);

    [LoggerMessage(4, LogLevel.Warning, "Refused worker {Name}'s partial for {Node}: {Reason}")]
    public static partial void RefusedPartial(ILogger logger, string name, string node, string reason);

    [LoggerMessage(5, LogLevel.Warning, "Paused with {Members} of at least {MinWorkers} workers")]
    public static partial void Paused(ILogger logger, int members, int minWorkers);

    [LoggerMessage(6, LogLevel.Warning, "Going on with {Members} workers")]
    public static partial void Continued(ILogger logger, int members);

    [LoggerMessage(7, LogLevel.Information, "Leases follow the workers' speed: {Shares}")]
    public static partial void Balanced(ILogger logger, string shares);

    [LoggerMessage(10, LogLevel.Warning, "Worker {Name} at {Address} went before it was ready: {Reason}")]
    public static partial void CandidateLost(ILogger logger, string name, string address, string reason);

    [LoggerMessage(8, LogLevel.Warning, "Started {Name} again, which {Description} ({Restarts} of at most {MaxRestarts} restarts)")]
    public static partial void Restarted(ILogger logger, string name, string description, int restarts, int maxRestarts);

    [LoggerMessage(9, LogLevel.Warning, "{Name} {Description}; it is not started again")]
    public static partial void NotRestarted(ILogger logger, string name, string description);
}
