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
            happened = Read(WorkerMessage.Parser.ParseFrom(_received.AsSpan(0, length)));
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

    private RunEvent? Read(WorkerMessage message)
    {
        if (message is not { Partial: { Slot: > 0 } partial })
            return WorkerEvents.Read(worker, message, ReadOnlyMemory<byte>.Empty);
        if (partial.Slot > mailbox.Slots)
            return null;
        _slotInHand = (int)partial.Slot - 1;
        return WorkerEvents.Read(worker, message, _gradients[_slotInHand.Value].Bytes);
    }
}
