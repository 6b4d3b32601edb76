namespace Distributed.Reduction;

/// <summary>Sums over samples, but for the gradient.</summary>
/// <param name="LossSum">Cross-entropy, in nats.</param>
/// <param name="Correct">Samples whose most probable class is their label.</param>
public readonly record struct StepTotals(double LossSum, int Correct, int Samples)
{
    /// <summary>A tree node's of its children's.</summary>
    public static StepTotals operator +(StepTotals left, StepTotals right) =>
        new(left.LossSum + right.LossSum, left.Correct + right.Correct, left.Samples + right.Samples);
}

/// <summary>The sums over the samples of one node of the reduction tree.</summary>
/// <param name="gradient">Its memory.</param>
public sealed class Partial(VectorBuffer gradient)
{
    /// <param name="parameters">P.</param>
    public Partial(int parameters)
        : this(new VectorBuffer(parameters))
    {
    }

    /// <summary>P gradients.</summary>
    public VectorBuffer Gradient { get; internal set; } = gradient;

    /// <summary>Cross-entropy, in nats.</summary>
    public double LossSum { get; set; }

    /// <summary>Samples whose most probable class is their label.</summary>
    public int Correct { get; set; }

    public int Samples { get; set; }

    /// <summary>The thread that was lent it last, by its managed id, and in whose core's cache it so may be; 0: nobody.</summary>
    public int Borrower { get; internal set; }

    /// <summary>All but the gradient.</summary>
    public StepTotals Totals => new(LossSum, Correct, Samples);

    /// <summary>Makes this, a left child, its parent.</summary>
    /// <param name="precision">What the gradients of all three are rounded to.</param>
    public void Add(Partial right, WirePrecision precision = WirePrecision.Float32)
    {
        PartialSum.Add(Gradient.Values, right.Gradient.Values, precision);
        AddTotals(right);
    }

    /// <summary>Adds all but the gradient.</summary>
    public void AddTotals(Partial right)
    {
        LossSum += right.LossSum;
        Correct += right.Correct;
        Samples += right.Samples;
    }
}

/// <summary>
/// Lends partials: to a thread one that it had before, the one returned last first, since its memory is still in that core's cache;
/// else any. Thread-safe.
/// </summary>
public class PartialPool(int parameters)
{
    private readonly List<Partial> _free = [];
    private readonly Lock _lock = new();

    /// <summary>A partial with any content.</summary>
    public virtual Partial Rent()
    {
        int thread = Environment.CurrentManagedThreadId;
        lock (_lock)
        {
            if (_free.Count > 0)
            {
                int place = _free.Count - 1;
                while (place > 0 && _free[place].Borrower != thread)
                    place--;
                if (_free[place].Borrower != thread)
                    place = _free.Count - 1;
                Partial partial = _free[place];
                _free.RemoveAt(place);
                partial.Borrower = thread;
                return partial;
            }
        }

        return new Partial(parameters) { Borrower = thread };
    }

    public virtual void Return(Partial partial)
    {
        lock (_lock)
            _free.Add(partial);
    }
}
