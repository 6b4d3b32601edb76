namespace Distributed.Engine.Kernels;

/// <summary>Softmax over one row of classes or channels. The sums run over the real ones, in order, whatever the width.</summary>
internal static unsafe class Softmax
{
    /// <summary>y = e^(x - max) / sum. Rows are padded to whole lanes; max and sum leave the padding out.</summary>
    /// <returns>The largest x and the sum of e^(x - max), of which the loss is made.</returns>
    public static (float Max, float Sum) Probabilities<TLanes>(float* x, float* y, int classes)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float max = x[0];
        for (int i = 1; i < classes; i++)
            max = x[i] > max ? x[i] : max;
        for (int i = 0; i < classes; i += TLanes.Count)
            TLanes.Store(y + i, Transcendental.Exp(TLanes.Subtract(TLanes.Load(x + i), TLanes.Splat(max))));
        float sum = 0;
        for (int i = 0; i < classes; i++)
            sum += y[i];
        for (int i = 0; i < classes; i += TLanes.Count)
            TLanes.Store(y + i, TLanes.Divide(TLanes.Load(y + i), TLanes.Splat(sum)));
        return (max, sum);
    }

    /// <summary>dx = y (dy - sum of y dy).</summary>
    public static void Backward(float* y, float* dy, float* dx, int classes)
    {
        float sum = 0;
        for (int i = 0; i < classes; i++)
            sum = MathF.FusedMultiplyAdd(y[i], dy[i], sum);
        for (int i = 0; i < classes; i++)
            dx[i] = y[i] * (dy[i] - sum);
    }
}
