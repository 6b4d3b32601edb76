using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Google.Protobuf;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Worker.Exchange;

/// <summary>The worker's end of the shared memory that its coordinator offers: weights, orders and partials in place.</summary>
internal sealed class SharedMemoryLink : IDisposable
{
    private readonly SharedLobby _lobby;
    private readonly SharedWeights _weights;
    private readonly SharedMailbox _mailbox;
    private readonly Lock _sending = new();
    private byte[] _received = new byte[1024];
    private byte[] _sent = new byte[1024];

    // Used again and again, so that a step allocates nothing.
    private readonly CoordinatorMessage _step = new() { Step = new Step() };
    private readonly WorkerMessage _partial = new() { Partial = new Protos.Partial() };

    private SharedMemoryLink(SharedLobby lobby, SharedWeights weights, SharedMailbox mailbox, int parameters)
    {
        (_lobby, _weights, _mailbox) = (lobby, weights, mailbox);
        Pool = new SharedPartialPool(mailbox, parameters);
    }

    /// <summary>On which the worker waits for orders.</summary>
    public Bell Bell => _mailbox.WorkerBell;

    /// <summary>P parameters, as the coordinator has them; they change only when no order is open.</summary>
    public VectorBuffer Weights => _weights.Values;

    public SharedPartialPool Pool { get; }

    /// <summary>Opens what the coordinator offers.</summary>
    /// <returns>Null if nothing is offered, or not wanted, or this process cannot see it: a coordinator elsewhere, another user's.</returns>
    /// <exception cref="ConfigurationException">Nothing else is wanted.</exception>
    public static SharedMemoryLink? TryOpen(SharedMemory? offer, ExchangeChoice choice, int parameters)
    {
        if (choice == ExchangeChoice.Grpc)
            return null;
        string fault = "the coordinator offers no shared memory";
        if (offer is not null && SharedSegment.Folder() is { } folder)
        {
            SharedLobby? lobby = null;
            SharedWeights? weights = null;
            try
            {
                lobby = SharedLobby.Open(folder, offer.Lobby);
                weights = SharedWeights.Open(folder, offer.Weights, parameters);
                return new SharedMemoryLink(lobby, weights, SharedMailbox.Open(folder, offer.Mailbox, parameters, (int)offer.Slots), parameters);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                fault = exception.Message;
                weights?.Dispose();
                lobby?.Dispose();
            }
        }

        return choice == ExchangeChoice.Auto ? null : throw new ConfigurationException($"--exchange shm: {fault}");
    }

    /// <summary>The next order, if there is one. The thread's that carries them out; a step is good until the next.</summary>
    /// <exception cref="InvalidDataException">What the coordinator wrote is not in order.</exception>
    /// <exception cref="InvalidProtocolBufferException">As above.</exception>
    public bool TryTake(out CoordinatorMessage? order)
    {
        bool isThere = _mailbox.ToWorker.TryRead(ref _received, out int length);
        ReadOnlySpan<byte> message = _received.AsSpan(0, length);
        order = !isThere ? null : Recycled.TryRead(message, _step.Step) ? _step : CoordinatorMessage.Parser.ParseFrom(message);
        return isThere;
    }

    /// <summary>Sends a finished partial without its gradient, which is where the coordinator finds it.</summary>
    /// <returns>False if it lies elsewhere, or there is no room: it is still the caller's.</returns>
    public bool TrySend(StepId step, TreeNode node, Partial partial, TimeSpan compute)
    {
        if (Pool.Lend(partial) is not { } slot)
            return false;
        lock (_sending)
        {
            PartialMessage.Fill(_partial.Partial, step, node, partial, compute);
            _partial.Partial.Slot = (uint)slot + 1;
            if (TrySend(_partial))
                return true;
        }

        Pool.TakeBack(partial);
        return false;
    }

    /// <summary>Sends an answer; false if there is no room.</summary>
    public bool TrySend(WorkerMessage message)
    {
        lock (_sending)
        {
            int length = message.CalculateSize();
            if (_sent.Length < length)
                _sent = new byte[length];
            message.WriteTo(_sent.AsSpan(0, length));
            if (!_mailbox.ToCoordinator.TryWrite(_sent.AsSpan(0, length)))
                return false;
        }

        _lobby.Bell.Ring();
        return true;
    }

    public void Dispose()
    {
        _mailbox.Dispose();
        _weights.Dispose();
        _lobby.Dispose();
    }
}
