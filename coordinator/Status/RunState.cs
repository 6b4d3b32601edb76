using System.Text.Json.Serialization;

namespace Distributed.Coordinator.Status;

/// <summary>What a run is doing, for those who watch it.</summary>
[JsonConverter(typeof(SnakeCaseEnum<RunState>))]
internal enum RunState
{
    /// <summary>The data is being loaded, or the workers to start with are not there yet. Next: Training, Stopping or Failed.</summary>
    Waiting,

    /// <summary>A step is under way. Next: any but Waiting.</summary>
    Training,

    /// <summary>Too few workers are left; the run goes on when there are enough. Next: Training, Evaluating, Stopping or Failed.</summary>
    Paused,

    /// <summary>The test set is being scored. Next: any but Waiting.</summary>
    Evaluating,

    /// <summary>All epochs are done and the results are written. Final.</summary>
    Completed,

    /// <summary>The run was told to stop before its end. Final once the coordinator has left off.</summary>
    Stopping,

    /// <summary>The run could not go on. Final; the failure is told.</summary>
    Failed,
}

/// <summary>What a worker is to the run.</summary>
[JsonConverter(typeof(SnakeCaseEnum<WorkerState>))]
internal enum WorkerState
{
    /// <summary>It leases shards.</summary>
    Active,

    /// <summary>It is in, but leases nothing: it has just come, or there are more workers than shards.</summary>
    Spare,

    /// <summary>It is out, and the run went on without it; the events tell why.</summary>
    Lost,

    /// <summary>It stayed to the end of the run.</summary>
    Done,
}
