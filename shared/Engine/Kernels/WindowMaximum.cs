using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// ReLU and the maximum of a 2x2 window of convolutions: what is kept of it is the pooled value and which position won.
/// </summary>
internal static unsafe class WindowMaximum
{
    /// <summary>The winner's number where the window is dead: its maximum is not above zero, so no gradient passes.</summary>
    public const float Dead = 0;

    /// <summary>Positions in scan order are numbered from 1; the first of equal ones wins, as in Keras.</summary>
    /// <param name="convolved">The window's four rows of sums, without bias.</param>
    /// <param name="bias">One a channel.</param>
    /// <param name="pooled">Receives max(0, maximum + bias).</param>
    /// <param name="winners">Receives 1 to 4, or <see cref="Dead"/>.</param>
    /// <param name="channels">A multiple of the lanes.</param>
    public static void Take<TLanes>(Square convolved, float* bias, float* pooled, float* winners, int channels)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint channel = 0; channel < channels; channel += TLanes.Count)
        {
            float* top = convolved.Data + channel, bottom = top + convolved.RowStride;
            Quad<TLanes> window = new(
                TLanes.Load(top), TLanes.Load(top + convolved.ColumnStride), TLanes.Load(bottom), TLanes.Load(bottom + convolved.ColumnStride));
            Take(window, bias + channel, pooled + channel, winners + channel);
        }
    }

    /// <summary>The same for one row of channels, of which the window's four positions are at hand.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Take<TLanes>(Quad<TLanes> convolved, float* bias, float* pooled, float* winners)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes best = convolved.First, winner = TLanes.Splat(1);
        Challenge(convolved.Second, 2, ref best, ref winner);
        Challenge(convolved.Third, 3, ref best, ref winner);
        Challenge(convolved.Fourth, 4, ref best, ref winner);
        best = TLanes.Add(best, TLanes.Load(bias));
        TLanes.Store(pooled, TLanes.Relu(best));
        TLanes.Store(winners, TLanes.SelectGreater(best, TLanes.Zero, winner, TLanes.Splat(Dead)));
    }

    /// <summary>The gradient by the convolution at a position: where it won, else 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes GradientAt<TLanes>(int position, TLanes winner, TLanes gradient)
        where TLanes : unmanaged, ILanes<TLanes> =>
        TLanes.SelectEqual(winner, TLanes.Splat(position), gradient, TLanes.Zero);

    /// <summary>db[o] = sum of the gradients over the windows that live, written unpadded.</summary>
    public static void SumBiasGradient<TLanes>(float* winners, float* gradient, int stride, int windows, float* bias, int filters)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (nint filter = 0; filter < filters; filter += TLanes.Count)
        {
            TLanes sum = TLanes.Zero;
            for (nint place = filter; place < (nint)windows * stride; place += stride)
            {
                TLanes live = TLanes.SelectGreater(TLanes.Load(winners + place), TLanes.Splat(Dead), TLanes.Load(gradient + place), TLanes.Zero);
                sum = TLanes.Add(sum, live);
            }

            OuterSum.StoreFirst(bias + filter, sum, filters - (int)filter);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Challenge<TLanes>(TLanes value, int position, ref TLanes best, ref TLanes winner)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        winner = TLanes.SelectGreater(value, best, TLanes.Splat(position), winner);
        best = TLanes.SelectGreater(value, best, value, best);
    }
}
