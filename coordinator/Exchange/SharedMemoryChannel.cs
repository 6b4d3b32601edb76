using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Training;
using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Reduction;
using Google.Protobuf;

namespace Distributed.Coordinator.Exchange;

/// <summary>
/// Orders to one worker and its answers, over memory that both share. Used by the step loop alone, but for
/// <see cref="Dispose"/> when the loop has ended.
/// </summary>
internal sealed class SharedMemoryChannel(int worker, SharedMailbox mailbox, string lobby, string weights) : IEventSource, IDisposable
{
    private readonly VectorBuffer[] _gradients = [.. Enumerable.Range(0, mailbox.Slots).Select(mailbox.Gradient)];
    private byte[] _received = new byte[1024];
    private byte[] _sent = new byte[1024];
    private int? _slotInHand;

    // Used again and again, so that a step allocates nothing; the loop has done with one event when it takes the next.
    private readonly Protos.Partial _partial = new();
    private readonly PartialArrived _arrived = new(worker);

    public bool IsEnded { get; private set; }

    /// <summary>Called for every sign of life.</summary>
    public Action? Heard { get; set; }

    /// <summary>Where the worker finds everything.</summary>
    public SharedMemory Describe() => new() { Lobby = lobby, Weights = weights, Mailbox = mailbox.Name, Slots = (uint)mailbox.Slots };

    /// <summary>The worker has opened it: nobody else need.</summary>
    public void Open() => mailbox.Unlink();

    /// <summary>Sends an order; false if the worker has left no room, which is no order any more that it will carry out.</summary>
    public bool TrySend(CoordinatorMessage order)
    {
        int length = order.CalculateSize();
        if (_sent.Length < length)
            _sent = new byte[length];
        order.WriteTo(_sent.AsSpan(0, length));
        if (!mailbox.ToWorker.TryWrite(_sent.AsSpan(0, length)))
            return false;
        mailbox.WorkerBell.Ring();
        return true;
    }

    public bool TryTake(out RunEvent? happened)
    {
        happened = null;
        if (IsEnded)
            return false;
        try
        {
            if (!mailbox.ToCoordinator.TryRead(ref _received, out int length))
                return false;
            Heard?.Invoke();
            happened = Read(_received.AsSpan(0, length));
        }
        catch (Exception exception) when (exception is InvalidDataException or InvalidProtocolBufferException)
        {
        }

        happened ??= new WorkerLeft(worker, "what it wrote to shared memory is not in order");
        return true;
    }

    public void EndLast()
    {
        if (_slotInHand is { } slot && !IsEnded)
            mailbox.GiveBack(slot);
        _slotInHand = null;
    }

    public void Dispose()
    {
        if (IsEnded)
            return;
        IsEnded = true;
        mailbox.Dispose();
    }

    private RunEvent? Read(ReadOnlySpan<byte> message)
    {
        if (!Recycled.TryRead(message, _partial))
            return WorkerEvents.ReadBlock(worker, WorkerMessage.Parser.ParseFrom(message));
        if (_partial.Id is null || _partial.Slot == 0 || _partial.Slot > mailbox.Slots)
            return null;
        _slotInHand = (int)_partial.Slot - 1;
        WorkerEvents.Fill(_arrived, _partial, _gradients[_slotInHand.Value].Bytes);
        return _arrived;
    }
}
