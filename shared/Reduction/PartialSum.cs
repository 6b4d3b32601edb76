using Distributed.Engine;

namespace Distributed.Reduction;

/// <summary>The one addition of the all-reduce.</summary>
public static unsafe class PartialSum
{
    /// <summary>left = left + right, element by element: what makes a tree node of its two children.</summary>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void Add(Span<float> left, ReadOnlySpan<float> right)
    {
        if (left.Length != right.Length)
            throw new ArgumentException($"partials of {left.Length} and {right.Length} values cannot be added", nameof(right));
        fixed (float* a = left, b = right)
            LaneDispatch.Run(new AddLoop(a, b), left.Length);
    }

    private readonly struct AddLoop(float* left, float* right) : IElementwiseLoop
    {
        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            for (nint i = first; i < end; i += TLanes.Count)
                TLanes.Store(left + i, TLanes.Add(TLanes.Load(left + i), TLanes.Load(right + i)));
        }
    }
}
