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
            // The first free one that the thread had before, else the first: what was used last is likely still in the cache.
            int found = -1;
            for (int slot = 0; slot < _partials.Length; slot++)
            {
                if (_isRented[slot] || !_mailbox.IsFree(slot))
                    continue;
                if (found < 0 || _partials[slot].Borrower == thread)
                    found = slot;
                if (_partials[slot].Borrower == thread)
                    break;
            }

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
}
