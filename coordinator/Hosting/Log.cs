namespace Distributed.Coordinator.Hosting;

/// <summary>What the coordinator tells whoever reads its log. Event ids are stable.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Warning, "Refused worker {Name} at {Address}: {Reason}")]
    public static partial void Refused(ILogger logger, string name, string address, string reason);

    [LoggerMessage(2, LogLevel.Information, "Worker {Name} joined as {WorkerId} with {Threads} threads, {InstructionSet}")]
    public static partial void Joined(ILogger logger, string name, int workerId, int threads, string instructionSet);

    [LoggerMessage(3, LogLevel.Warning, "Lost worker {Name}: {Reason}; its shards go to the others")]
    public static partial void Lost(ILogger logger, string name, string reason);

    [LoggerMessage(4, LogLevel.Warning, "Refused a partial of worker {Name}: {Reason}")]
    public static partial void RefusedPartial(ILogger logger, string name, string reason);

    [LoggerMessage(5, LogLevel.Warning, "Paused with {Members} of at least {MinWorkers} workers")]
    public static partial void Paused(ILogger logger, int members, int minWorkers);
}
