namespace Distributed.Engine;

/// <summary>An element-wise loop over float32 arrays, written once for all widths.</summary>
internal interface IElementwiseLoop
{
    /// <summary>Does the elements [first, end); end - first is a multiple of the row's lanes.</summary>
    void Run<TLanes>(int first, int end)
        where TLanes : unmanaged, ILanes<TLanes>;
}

/// <summary>Runs element-wise loops at the widest row there is, and what is left at one lane: the same bits.</summary>
internal static class LaneDispatch
{
    public static void Run<TLoop>(TLoop loop, int length)
        where TLoop : struct, IElementwiseLoop, allows ref struct
        => Run(loop, 0, length);

    /// <summary>The elements [first, end) only.</summary>
    public static void Run<TLoop>(TLoop loop, int first, int end)
        where TLoop : struct, IElementwiseLoop, allows ref struct
    {
        switch (InstructionSets.Best)
        {
            case InstructionSet.Avx512:
                Run<TLoop, Lanes512>(loop, first, end);
                break;
            case InstructionSet.Avx2:
                Run<TLoop, Lanes256>(loop, first, end);
                break;
            case InstructionSet.Vector128:
                Run<TLoop, Lanes128>(loop, first, end);
                break;
            default:
                Run<TLoop, ScalarLane>(loop, first, end);
                break;
        }
    }

    private static void Run<TLoop, TLanes>(TLoop loop, int first, int end)
        where TLoop : struct, IElementwiseLoop, allows ref struct
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int whole = end - ((end - first) % TLanes.Count);
        loop.Run<TLanes>(first, whole);
        loop.Run<ScalarLane>(whole, end);
    }
}
