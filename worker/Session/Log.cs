using Microsoft.Extensions.Logging;

namespace Distributed.Worker.Session;

/// <summary>What a worker tells whoever reads its log. Event ids are stable.</summary>
internal static partial class Log
{
    [LoggerMessage(1, LogLevel.Information, "Joined as worker {WorkerId} of run {RunId}, a model of {Parameters} parameters")]
    public static partial void Joined(ILogger logger, int workerId, string runId, int parameters);

    [LoggerMessage(2, LogLevel.Information, "Waiting for a coordinator at {Coordinator}: {Failure}")]
    public static partial void Waiting(ILogger logger, Uri coordinator, string failure);

    [LoggerMessage(3, LogLevel.Warning, "Lost the coordinator: {Reason}")]
    public static partial void CoordinatorLost(ILogger logger, string reason);

    [LoggerMessage(4, LogLevel.Information, "Let go by the coordinator: the work is done")]
    public static partial void Drained(ILogger logger);

    [LoggerMessage(5, LogLevel.Information, "Told to stop: said goodbye")]
    public static partial void Stopped(ILogger logger);
}
