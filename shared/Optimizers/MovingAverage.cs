using System.Runtime.CompilerServices;
using Distributed.Engine;

namespace Distributed.Optimizers;

internal static class MovingAverage
{
    /// <summary>Zero for what is smaller than <see cref="Optimizer.Floor"/> either way, so that a decaying mean never becomes denormal.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes FlushTiny<TLanes>(TLanes x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes floor = TLanes.Splat(Optimizer.Floor), minusFloor = TLanes.Splat(-Optimizer.Floor);
        return TLanes.SelectGreater(x, floor, x, TLanes.SelectGreater(minusFloor, x, x, TLanes.SelectGreater(floor, x, TLanes.Zero, x)));
    }
}
