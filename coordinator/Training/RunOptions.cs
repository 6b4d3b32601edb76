using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Status;
using Distributed.Exchange;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>What a run is asked to do, with every default in this one place.</summary>
internal sealed record RunOptions
{
    /// <summary>What is sent at a time to another host: small against a vector, large against what a message costs.</summary>
    public const int UsualChunkBytes = 24 * 1024;

    // More than a vector has.
    private const long MostChunkBytes = 1 << 30;

    public string Model { get; init; } = "convnet";

    public OptimizerSettings Optimizer { get; init; } = OptimizerSettings.Default(OptimizerKind.Rmsprop);

    public int Epochs { get; init; } = 5;

    public int BatchSize { get; init; } = 64;

    /// <summary>V: into how many microbatches each batch is divided, whatever the number of workers.</summary>
    public int Shards { get; init; } = 8;

    public ulong Seed { get; init; } = 1;

    public bool Shuffle { get; init; } = true;

    /// <summary>Ends the run after this many steps, counted over all epochs; null: when the epochs are done.</summary>
    public int? MaxSteps { get; init; }

    /// <summary>Worker processes to start here; 0 waits for workers from elsewhere.</summary>
    public int Workers { get; init; } = 2;

    /// <summary>Compute threads of each local worker; null divides the cores among them.</summary>
    public int? Threads { get; init; }

    /// <summary>Training starts, and goes on, only with at least this many workers.</summary>
    public int MinWorkers { get; init; } = 1;

    /// <summary>How long to wait for the workers that are needed, at the start and whenever there are too few.</summary>
    public TimeSpan WorkerTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How often, in a run, a local worker that has died is replaced.</summary>
    public int MaxRestarts { get; init; } = 3;

    /// <summary>Where workers call; null: a free loopback port in single-machine mode, else <see cref="DefaultListen"/>.</summary>
    public string? Listen { get; init; }

    /// <summary>Where run.json and model.safetensors go; null: runs/ and the time.</summary>
    public string? OutputDirectory { get; init; }

    public StatusOptions Status { get; init; } = new();

    /// <summary>Where checkpoints go; null: none are written.</summary>
    public string? CheckpointDirectory { get; init; }

    /// <summary>Steps from checkpoint to checkpoint, beside those at the ends of epochs; 0: only those.</summary>
    public int CheckpointEvery { get; init; } = 200;

    /// <summary>Goes on from the newest checkpoint, if there is one.</summary>
    public bool Resume { get; init; }

    /// <summary>File with the join token; null: what the environment has, if anything.</summary>
    public string? TokenFile { get; init; }

    public TlsOptions Tls { get; init; } = new();

    /// <summary>Lets everybody in who reaches a port beyond loopback.</summary>
    public bool Insecure { get; init; }

    /// <summary>How often each side says that it is alive.</summary>
    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>A peer that stays silent is taken for dead within this time.</summary>
    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>A file that gets a line for each step: who computed which shards; null: none is written.</summary>
    public string? Ledger { get; init; }

    /// <summary>How long local workers may take to go when they are let go.</summary>
    public TimeSpan DrainTimeout { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>How long a step under way may take to its end when the run is told to stop; then it is given up.</summary>
    public TimeSpan StopGrace { get; init; } = TimeSpan.FromSeconds(1.5);

    /// <summary>How long the disk may take over the last checkpoint of a run that is told to stop.</summary>
    public TimeSpan StopDiskPatience { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>How long it may at the end of a run that is done.</summary>
    public TimeSpan EndDiskPatience { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>Samples in each block of the test set, the unit in which it is shared out.</summary>
    public int TestBlockSamples { get; init; } = 200;

    /// <summary>How weights and gradients may travel.</summary>
    public ExchangeChoice Exchange { get; init; } = ExchangeChoice.Auto;

    /// <summary>
    /// Vectors of steps travel over gRPC in chunks of so many bytes, so that both directions of a link are busy at once; 0: whole; null:
    /// whole to workers on this host, where chunks only cost, in chunks of <see cref="UsualChunkBytes"/> to others.
    /// </summary>
    public long? ChunkBytes { get; init; }

    /// <summary>What every node of the reduction tree and the weights of every step are rounded to, and travel as.</summary>
    public WirePrecision Wire { get; init; } = WirePrecision.Float32;

    public const string DefaultListen = "127.0.0.1:5000";

    public bool IsSingleMachine => Workers > 0;

    /// <summary>How many workers must be in before the first step.</summary>
    public int WorkersToStart => IsSingleMachine ? Workers : MinWorkers;

    public int LocalThreads => Threads ?? Math.Max(1, Environment.ProcessorCount / Math.Max(1, Workers));

    /// <summary>What the workers are called that start here.</summary>
    public IEnumerable<string> LocalWorkerNames() => Enumerable.Range(1, Workers).Select(static number => $"worker-{number}");

    /// <summary>The address to listen at, checked.</summary>
    public ListenAddress ListenAddress() =>
        Hosting.ListenAddress.Parse("--listen", Listen ?? (IsSingleMachine ? "127.0.0.1:0" : DefaultListen));

    /// <summary>Refuses what cannot be, naming the option.</summary>
    /// <exception cref="ConfigurationException">An option is out of range.</exception>
    public void Validate()
    {
        Require(Workers is >= 0 and <= 256, "--workers", Workers, "from 0 to 256");
        Require(Threads is null or (>= 1 and <= 1024), "--threads", Threads ?? 0, "from 1 to 1024");
        Require(Epochs is >= 1 and <= 1_000_000, "--epochs", Epochs, "from 1 to 1,000,000");
        Require(BatchSize is >= 1 and <= 1 << 20, "--batch-size", BatchSize, "from 1 to 1,048,576");
        Require(Shards is >= 1 and <= 4096, "--shards", Shards, "from 1 to 4096");
        Require(MaxSteps is null or >= 0, "--max-steps", MaxSteps ?? 0, "0 or more");
        Require(MinWorkers is >= 1 and <= 4096, "--min-workers", MinWorkers, "from 1 to 4096");
        Require(MaxRestarts is >= 0 and <= 1_000_000, "--max-restarts", MaxRestarts, "from 0 to 1,000,000");
        Require(HeartbeatInterval.TotalSeconds is >= 0.01 and <= 3600, "--heartbeat-interval", HeartbeatInterval, "from 0.01 to 3600");
        Require(HeartbeatTimeout.TotalSeconds is >= 0.03 and <= 86_400, "--heartbeat-timeout", HeartbeatTimeout, "from 0.03 to 86,400");
        Require(WorkerTimeout.TotalSeconds is > 0 and <= 604_800, "--worker-timeout", WorkerTimeout, "more than 0, and at most 604,800 (a week)");
        if (HeartbeatTimeout < HeartbeatInterval * FailureDetector.LeastIntervals)
        {
            throw new ConfigurationException(
                $"--heartbeat-timeout {HeartbeatTimeout.TotalSeconds} must be at least {FailureDetector.LeastIntervals} times --heartbeat-interval {HeartbeatInterval.TotalSeconds}");
        }

        ExchangeKind.Check(Exchange);
        if (ChunkBytes is < 0 or > MostChunkBytes)
            throw new ConfigurationException($"--chunk-kb must be from 0 to {MostChunkBytes / 1024:N0}, not {ChunkBytes / 1024}");
        Require(CheckpointEvery >= 0, "--checkpoint-every", CheckpointEvery, "0 or more");
        if (Resume && CheckpointDirectory is null)
            throw new ConfigurationException("--resume needs --checkpoint-dir, where the checkpoints are");
        if (CheckpointDirectory is not null && string.IsNullOrWhiteSpace(CheckpointDirectory))
            throw new ConfigurationException("--checkpoint-dir must be a directory, not an empty name");
        if (BatchSize % Shards != 0)
            throw new ConfigurationException($"--batch-size {BatchSize} cannot be divided into --shards {Shards} microbatches of the same size");
        if (IsSingleMachine && MinWorkers > Workers)
            throw new ConfigurationException($"--min-workers {MinWorkers} is more than --workers {Workers}, which start here");
        Optimizer.Validate();
        Status.Validate();
        _ = ListenAddress();
    }

    private static void Require(bool holds, string option, int value, string range)
    {
        if (!holds)
            throw new ConfigurationException($"{option} must be {range}, not {value}");
    }

    private static void Require(bool holds, string option, TimeSpan value, string range)
    {
        if (!holds)
            throw new ConfigurationException($"{option} must be {range} seconds, not {value.TotalSeconds}");
    }
}
