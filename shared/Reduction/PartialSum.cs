using Distributed.Engine;

namespace Distributed.Reduction;

/// <summary>The one addition of the all-reduce.</summary>
public static unsafe class PartialSum
{
    /// <summary>left = left + right, element by element: what makes a tree node of its two children.</summary>
    /// <param name="precision">
    /// What every node is rounded to, the children included: theirs is done here, on the way, unless it is already, since
    /// rounding twice is rounding once.
    /// </param>
    /// <exception cref="ArgumentException">The lengths differ.</exception>
    public static void Add(Span<float> left, ReadOnlySpan<float> right, WirePrecision precision = WirePrecision.Float32)
    {
        if (left.Length != right.Length)
            throw new ArgumentException($"partials of {left.Length} and {right.Length} values cannot be added", nameof(right));
        fixed (float* a = left, b = right)
        {
            if (precision == WirePrecision.Bf16)
                LaneDispatch.Run(new AddRoundedLoop(a, b), left.Length);
            else
                LaneDispatch.Run(new AddLoop(a, b), left.Length);
        }
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

    private readonly struct AddRoundedLoop(float* left, float* right) : IElementwiseLoop
    {
        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            for (nint i = first; i < end; i += TLanes.Count)
            {
                TLanes a = TLanes.RoundToBfloat16(TLanes.Load(left + i)), b = TLanes.RoundToBfloat16(TLanes.Load(right + i));
                TLanes.Store(left + i, TLanes.RoundToBfloat16(TLanes.Add(a, b)));
            }
        }
    }
}
