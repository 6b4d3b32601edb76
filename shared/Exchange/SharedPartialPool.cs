using Distributed.Reduction;

namespace Distributed.Exchange;

/// <summary>
/// A worker's partials, kept in the slots of its mailbox, so that a finished one need not be copied to reach the
/// coordinator. While all slots are taken it lends memory of the process's own. Thread-safe.
/// </summary>
public sealed class SharedPartialPool : PartialPool
{
    private readonly SharedMailbox _mailbox;
    private readonly Partial[] _partials;
    private readonly bool[] _isRented;
    private readonly Lock _lock = new();

    public SharedPartialPool(SharedMailbox mailbox, int parameters)
        : base(parameters)
    {
        _mailbox = mailbox;
        _partials = new Partial[mailbox.Slots];
        _isRented = new bool[mailbox.Slots];
        for (int slot = 0; slot < _partials.Length; slot++)
            _partials[slot] = new Partial(mailbox.Gradient(slot));
    }

    public override Partial Rent()
    {
        int thread = Environment.CurrentManagedThreadId;
        lock (_lock)
        {
            // Of those that the thread had before the first, since what was used last is likely still in the cache; else one of nobody's.
            int found = FirstFree(thread);
            if (found < 0)
                found = FirstFree(borrower: 0);
            if (found < 0)
                found = FirstFree(borrower: null);
            if (found >= 0)
            {
                _isRented[found] = true;
                _partials[found].Borrower = thread;
                return _partials[found];
            }
        }

        return base.Rent();
    }

    public override void Return(Partial partial)
    {
        int slot = Array.IndexOf(_partials, partial);
        if (slot < 0)
        {
            base.Return(partial);
            return;
        }

        lock (_lock)
            _isRented[slot] = false;
    }

    /// <summary>Takes a lent partial back that the coordinator was never told of.</summary>
    public void TakeBack(Partial partial)
    {
        int slot = Array.IndexOf(_partials, partial);
        lock (_lock)
        {
            _isRented[slot] = true;
            _mailbox.GiveBack(slot);
        }
    }

    /// <summary>Makes a rented partial the coordinator's.</summary>
    /// <returns>Its slot; null if it lies in none, and is still the caller's.</returns>
    public int? Lend(Partial partial)
    {
        int slot = Array.IndexOf(_partials, partial);
        if (slot < 0)
            return null;
        lock (_lock)
        {
            _mailbox.Lend(slot);
            _isRented[slot] = false;
        }

        return slot;
    }

    /// <param name="borrower">The thread that had it last, 0: nobody; null: whoever.</param>
    /// <returns>A slot, or -1.</returns>
    private int FirstFree(int? borrower)
    {
        for (int slot = 0; slot < _partials.Length; slot++)
        {
            if (!_isRented[slot] && _mailbox.IsFree(slot) && (borrower is null || _partials[slot].Borrower == borrower))
                return slot;
        }

        return -1;
    }
}
