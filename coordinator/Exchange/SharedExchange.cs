using Distributed.Coordinator.Training;
using Distributed.Exchange;
using Distributed.Reduction;

namespace Distributed.Coordinator.Exchange;

/// <summary>
/// The coordinator's part of the exchange over shared memory: its bell, the weights, and a mailbox for each worker of
/// this host. Whatever way the run ends, nothing of it stays in the file system; what a killed one left, the next removes.
/// </summary>
internal sealed class SharedExchange : IDisposable
{
    // Beyond this a worker's other partials go over gRPC.
    private const long MostSlotBytes = 256 << 20;

    private readonly string _folder;
    private readonly SharedLobby _lobby;
    private readonly Lock _lock = new();
    private readonly List<SharedMemoryChannel> _channels = [];
    private SharedWeights? _weights;

    private SharedExchange(string folder)
    {
        _folder = folder;
        SharedSegment.RemoveStale(folder);
        _lobby = SharedLobby.Create(folder);
    }

    /// <summary>On which the step loop waits.</summary>
    public Bell Bell => _lobby.Bell;

    /// <summary>Prepares it; null where it is not wanted, or, if nobody insists, not to be had.</summary>
    /// <exception cref="ConfigurationException">It is insisted on and not to be had.</exception>
    public static SharedExchange? Open(ExchangeChoice choice)
    {
        if (choice == ExchangeChoice.Grpc)
            return null;
        string fault = ExchangeKind.Unavailable;
        if (SharedSegment.Folder() is { } folder)
        {
            try
            {
                return new SharedExchange(folder);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                fault = $"--exchange shm: {folder}: {exception.Message}";
            }
        }

        return choice == ExchangeChoice.Auto ? null : throw new ConfigurationException(fault);
    }

    /// <summary>Room for the weights, where workers read them; null if there is none.</summary>
    /// <param name="parameters">P.</param>
    public VectorBuffer? TryCreateWeights(int parameters)
    {
        try
        {
            _weights = SharedWeights.Create(_folder, parameters);
            return _weights.Values;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>A channel to offer a worker; null if there is no room.</summary>
    public SharedMemoryChannel? TryCreateChannel(int worker, int threads, RunDefinition run)
    {
        if (_weights is null)
            return null;
        int parameters = run.Model.ParameterCount;
        // What threads compute, what waits for its sibling on each level of the tree, and what the coordinator has not read yet.
        long wanted = Math.Min(2L * run.Options.Shards, threads + (2 * (run.Tree.Root.Level + 1)));
        int slots = (int)Math.Max(1, Math.Min(wanted, MostSlotBytes / ((long)parameters * sizeof(float))));
        try
        {
            SharedMemoryChannel channel = new(worker, SharedMailbox.Create(_folder, parameters, slots), _lobby.Name, _weights.Name);
            lock (_lock)
            {
                _channels.RemoveAll(static other => other.IsEnded);
                _channels.Add(channel);
            }

            return channel;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (SharedMemoryChannel channel in _channels)
                channel.Dispose();
        }

        // They stay mapped until the process ends: a callback of a timer or of a call that is being cut off may still ring or read.
        _weights?.Unlink();
        _lobby.Unlink();
    }
}
