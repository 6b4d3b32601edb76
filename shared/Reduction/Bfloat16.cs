using System.Numerics;
using System.Runtime.InteropServices;
using Distributed.Engine;

namespace Distributed.Reduction;

/// <summary>Float32 values rounded to bfloat16, to nearest, ties to even; they stay float32 values, with a lower half of zeros.</summary>
public static unsafe class Bfloat16
{
    /// <summary>Rounds in place.</summary>
    public static void Round(Span<float> values) => Round(values, values);

    /// <param name="destination">As long as the source: the same memory or other.</param>
    public static void Round(ReadOnlySpan<float> source, Span<float> destination)
    {
        if (source.Length != destination.Length)
            throw new ArgumentException($"{source.Length} values cannot be rounded into {destination.Length}", nameof(destination));
        fixed (float* from = source, to = destination)
            LaneDispatch.Run(new RoundLoop(from, to), source.Length);
    }

    /// <summary>Index of the first value that is no bfloat16 number; -1 when all are.</summary>
    public static int FindOther(ReadOnlySpan<float> values)
    {
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(values);
        Vector<uint> dropped = new(~Bfloat16Bits.Kept);
        int i = 0;
        for (; i <= bits.Length - Vector<uint>.Count; i += Vector<uint>.Count)
        {
            if ((new Vector<uint>(bits[i..]) & dropped) != Vector<uint>.Zero)
                break;
        }

        for (; i < bits.Length; i++)
        {
            if ((bits[i] & ~Bfloat16Bits.Kept) != 0)
                return i;
        }

        return -1;
    }

    private readonly struct RoundLoop(float* source, float* destination) : IElementwiseLoop
    {
        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            for (nint i = first; i < end; i += TLanes.Count)
                TLanes.Store(destination + i, TLanes.RoundToBfloat16(TLanes.Load(source + i)));
        }
    }
}
