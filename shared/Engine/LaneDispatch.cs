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
    {
        switch (InstructionSets.Best)
        {
            case InstructionSet.Avx512:
                Run<TLoop, Lanes512>(loop, length);
                break;
            case InstructionSet.Avx2:
                Run<TLoop, Lanes256>(loop, length);
                break;
            case InstructionSet.Vector128:
                Run<TLoop, Lanes128>(loop, length);
                break;
            default:
                Run<TLoop, ScalarLane>(loop, length);
                break;
        }
    }

    private static void Run<TLoop, TLanes>(TLoop loop, int length)
        where TLoop : struct, IElementwiseLoop, allows ref struct
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int whole = length - (length % TLanes.Count);
        loop.Run<TLanes>(0, whole);
        loop.Run<ScalarLane>(whole, length);
    }
}
