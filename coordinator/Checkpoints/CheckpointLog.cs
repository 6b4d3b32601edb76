namespace Distributed.Coordinator.Checkpoints;

/// <summary>What is to be said of checkpoints. Event ids are stable.</summary>
internal static partial class CheckpointLog
{
    [LoggerMessage(30, LogLevel.Information, "Wrote checkpoint {Path}: {Bytes} bytes in {Milliseconds} ms")]
    public static partial void Written(ILogger logger, string path, long bytes, long milliseconds);

    [LoggerMessage(31, LogLevel.Warning, "No checkpoint could be written at {Position}: {Reason}; training goes on")]
    public static partial void Failed(ILogger logger, string position, string reason);
}
