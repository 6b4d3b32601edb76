namespace Distributed.Exchange;

/// <summary>--exchange: how weights and gradients may travel.</summary>
public enum ExchangeChoice
{
    /// <summary>Over shared memory where both sides see the same, else over gRPC.</summary>
    Auto,

    /// <summary>Over shared memory or not at all.</summary>
    Shm,

    /// <summary>Over gRPC alone.</summary>
    Grpc,
}

/// <summary>How one worker's weights and gradients travel.</summary>
public static class ExchangeKind
{
    public const string SharedMemory = "shm";
    public const string Grpc = "grpc";

    /// <summary>Refuses what is no choice: the command line takes an enumeration's numbers, too.</summary>
    /// <exception cref="ConfigurationException">It is none.</exception>
    public static void Check(ExchangeChoice choice)
    {
        if (!Enum.IsDefined(choice))
            throw new ConfigurationException($"--exchange must be auto, shm or grpc, not '{choice}'");
    }

    /// <summary>What a folder of shared memory is missing for --exchange shm.</summary>
    public const string Unavailable = "--exchange shm: there is no shared memory here (it takes Linux and /dev/shm, or a folder in DISTRIBUTED_SHARED_MEMORY_DIR)";
}
