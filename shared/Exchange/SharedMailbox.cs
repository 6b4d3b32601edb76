using Distributed.Reduction;

namespace Distributed.Exchange;

/// <summary>
/// What one worker and the coordinator share: a ring of messages each way, the bell on which the worker waits, and slots
/// in which the worker sums its gradients and the coordinator reads them.
/// </summary>
/// <remarks>
/// A slot is the worker's while its word is 0 and the coordinator's while it is 1: the worker lends it with a message,
/// the coordinator gives it back when it has added it.
/// </remarks>
public sealed unsafe class SharedMailbox : IDisposable
{
    private const int Line = 64;
    private const int Page = 4096;

    // A step's order takes 30 bytes and some for each node, a score of a block of the test set 230.
    private const int RingBytes = 1 << 18;

    private readonly SharedSegment _segment;
    private readonly int _parameters;

    private SharedMailbox(SharedSegment segment, int parameters, int slots)
    {
        _segment = segment;
        _parameters = parameters;
        Slots = slots;
        WorkerBell = new SharedBell(segment, 0);
        ToWorker = new SharedRing(segment, SharedBell.Size, RingBytes);
        ToCoordinator = new SharedRing(segment, SharedBell.Size + SharedRing.SizeOf(RingBytes), RingBytes);
    }

    public string Name => _segment.Name;

    /// <summary>How many gradients fit.</summary>
    public int Slots { get; }

    public SharedBell WorkerBell { get; }

    public SharedRing ToWorker { get; }

    public SharedRing ToCoordinator { get; }

    private static long WordsOffset => SharedBell.Size + (2L * SharedRing.SizeOf(RingBytes));

    /// <param name="parameters">P: float32 values in each slot.</param>
    /// <param name="slots">How many.</param>
    /// <inheritdoc cref="SharedSegment.Create" path="/exception"/>
    public static SharedMailbox Create(string folder, int parameters, int slots) =>
        new(SharedSegment.Create(folder, SlotOffset(parameters, slots, slots)), parameters, slots);

    /// <inheritdoc cref="SharedSegment.Open" path="/exception"/>
    public static SharedMailbox Open(string folder, string name, int parameters, int slots)
    {
        SharedSegment segment = SharedSegment.Open(folder, name);
        if (segment.Size == SlotOffset(parameters, slots, slots))
            return new SharedMailbox(segment, parameters, slots);
        segment.Dispose();
        throw new IOException($"{name} is not the mailbox of {slots} slots of {parameters} parameters that it should be");
    }

    /// <summary>A slot's gradient; valid until this is disposed.</summary>
    public VectorBuffer Gradient(int slot) => new(new SegmentMemory(_segment, SlotOffset(_parameters, Slots, Check(slot)), _parameters * sizeof(float)));

    /// <summary>Whether the worker may write to a slot.</summary>
    public bool IsFree(int slot) => Volatile.Read(ref *Word(slot)) == 0;

    /// <summary>The worker's: what is in the slot is the coordinator's from now on.</summary>
    public void Lend(int slot) => Volatile.Write(ref *Word(slot), 1);

    /// <summary>The coordinator's: it is done with the slot.</summary>
    public void GiveBack(int slot) => Volatile.Write(ref *Word(slot), 0);

    /// <summary>The coordinator's: takes the name away once the worker has opened it.</summary>
    public void Unlink() => _segment.Unlink();

    public void Dispose() => _segment.Dispose();

    private int* Word(int slot) => (int*)_segment.At(WordsOffset + ((long)Check(slot) * Line), Line);

    private int Check(int slot)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)Slots, nameof(slot));
        return slot;
    }

    private static long SlotOffset(int parameters, int slots, int slot) =>
        RoundUp(WordsOffset + ((long)slots * Line)) + (slot * RoundUp((long)parameters * sizeof(float)));

    private static long RoundUp(long bytes) => (bytes + Page - 1) / Page * Page;
}
