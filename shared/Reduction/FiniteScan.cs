using Distributed.Engine;

namespace Distributed.Reduction;

/// <summary>Looks for values that are infinite or not a number.</summary>
public static unsafe class FiniteScan
{
    /// <summary>Index of the first value that is infinite or not a number; -1 when all are finite.</summary>
    public static int FindOther(ReadOnlySpan<float> values)
    {
        if (values.IsEmpty)
            return -1;
        bool isFinite = true;
        fixed (float* pointer = values)
            LaneDispatch.Run(new Loop(pointer, &isFinite), values.Length);
        for (int i = isFinite ? values.Length : 0; i < values.Length; i++)
        {
            if (!float.IsFinite(values[i]))
                return i;
        }

        return -1;
    }

    /// <summary>
    /// Only finite values are zero when multiplied by zero. Four sums at a time, since each addition waits for the one before; no
    /// multiply-add, which not every processor has.
    /// </summary>
    private readonly struct Loop(float* values, bool* isFinite) : IElementwiseLoop
    {
        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes zero = TLanes.Zero, a = zero, b = zero, c = zero, d = zero;
            float* x = values + first, last = values + end;
            for (; x <= last - (4 * TLanes.Count); x += 4 * TLanes.Count)
            {
                a = TLanes.Add(a, TLanes.Multiply(TLanes.Load(x), zero));
                b = TLanes.Add(b, TLanes.Multiply(TLanes.Load(x + TLanes.Count), zero));
                c = TLanes.Add(c, TLanes.Multiply(TLanes.Load(x + (2 * TLanes.Count)), zero));
                d = TLanes.Add(d, TLanes.Multiply(TLanes.Load(x + (3 * TLanes.Count)), zero));
            }

            for (; x < last; x += TLanes.Count)
                a = TLanes.Add(a, TLanes.Multiply(TLanes.Load(x), zero));
            *isFinite &= TLanes.HasNoBits(TLanes.Add(TLanes.Add(a, b), TLanes.Add(c, d)));
        }
    }
}
