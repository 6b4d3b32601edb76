namespace Distributed.Engine.Kernels;

/// <summary>Loops over whole planes, padding included. Lengths are multiples of 16.</summary>
internal static unsafe class Elementwise
{
    /// <summary>The gradient behind a ReLU: dy where its output y is above 0, else 0; in place.</summary>
    public static void MaskByRelu<TLanes>(float* y, float* dy, int length)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint i = 0; i < length; i += TLanes.Count)
            TLanes.Store(dy + i, TLanes.SelectGreater(TLanes.Load(y + i), TLanes.Zero, TLanes.Load(dy + i), TLanes.Zero));
    }
}
