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

    /// <summary>y = relu?(y + bias) for every row, in place.</summary>
    public static void AddBias<TLanes>(float* y, int rows, float* bias, int stride, bool relu)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint row = 0; row < rows; row++, y += stride)
        {
            for (nint i = 0; i < stride; i += TLanes.Count)
            {
                TLanes sum = TLanes.Add(TLanes.Load(y + i), TLanes.Load(bias + i));
                TLanes.Store(y + i, relu ? TLanes.Relu(sum) : sum);
            }
        }
    }
}
