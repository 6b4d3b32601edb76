using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Distributed.Engine.Kernels;

/// <summary>
/// ReLU and the maximum of a 2x2 window of convolutions: what is kept of it is the pooled value and which position won.
/// </summary>
internal static unsafe class WindowMaximum
{
    /// <summary>The winner's number where the window is dead: its maximum is not above zero, so no gradient passes.</summary>
    public const byte Dead = 0;

    /// <summary>
    /// Takes the maximum for a row of channels. Positions in scan order are numbered from 1; the first of equal ones wins,
    /// as in Keras.
    /// </summary>
    /// <param name="topLeft">The window's sums without bias, as are the three that follow.</param>
    /// <param name="bias">One a channel.</param>
    /// <param name="pooled">Receives max(0, maximum + bias).</param>
    /// <param name="winners">Receives 1 to 4, or <see cref="Dead"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Take<TRow>(TRow topLeft, TRow topRight, TRow bottomLeft, TRow bottomRight, float* bias, float* pooled, byte* winners)
        where TRow : unmanaged, ILanes<TRow>
    {
        TRow best = topLeft, winner = TRow.Splat(1);
        Challenge(topRight, 2, ref best, ref winner);
        Challenge(bottomLeft, 3, ref best, ref winner);
        Challenge(bottomRight, 4, ref best, ref winner);
        best = TRow.Add(best, TRow.Load(bias));
        TRow.Store(pooled, TRow.Relu(best));
        TRow.StoreBytes(winners, TRow.SelectGreater(best, TRow.Zero, winner, TRow.Splat(Dead)));
    }

    /// <summary>The float of which a winner's number less 1 makes an index for <see cref="ILanes{TSelf}.Pick"/>: its last bit is one unit.</summary>
    public const float IndexBase = (1 << 23) - 1;

    /// <summary>For each window and filter where the winner's patch begins.</summary>
    /// <param name="winners">A row of <paramref name="filters"/> for each window; where it is dead, the place is any of the four.</param>
    /// <param name="filters">A multiple of the lanes.</param>
    /// <param name="windows">Where the first position's patch begins, in floats.</param>
    /// <param name="places">Receives places likewise.</param>
    public static void Locate<TLanes>(byte* winners, int filters, ReadOnlySpan<int> windows, int rowStride, int channelStride, int* places)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        Vector128<int> apart = Vector128.Create(0, channelStride, rowStride, rowStride + channelStride);
        foreach (int window in windows)
        {
            Vector128<int> positions = Vector128.Create(window) + apart;
            for (nint filter = 0; filter < filters; filter += TLanes.Count)
            {
                TLanes index = TLanes.Add(TLanes.LoadBytes(winners + filter), TLanes.Splat(IndexBase));
                TLanes.Store((float*)places + filter, TLanes.Pick((float*)&positions, (float*)&positions + 2, index));
            }

            winners += filters;
            places += filters;
        }
    }

    /// <summary>db[o] = sum of the gradients over the windows that live, written unpadded.</summary>
    public static void SumBiasGradient<TLanes>(byte* winners, float* gradient, int stride, int windows, float* bias, int filters)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        int filter = 0;
        for (; filter + Pair<TLanes>.Count <= filters; filter += Pair<TLanes>.Count)
            SumBiasRow<Pair<TLanes>>(winners + filter, gradient + filter, stride, windows, bias + filter, filters - filter);
        for (; filter < filters; filter += TLanes.Count)
            SumBiasRow<TLanes>(winners + filter, gradient + filter, stride, windows, bias + filter, filters - filter);
    }

    private static void SumBiasRow<TRow>(byte* winners, float* gradient, nint stride, int windows, float* bias, int filters)
        where TRow : unmanaged, ILanes<TRow>
    {
        TRow sum = TRow.Zero;
        for (nint place = 0; place < windows * stride; place += stride)
        {
            TRow live = TRow.SelectGreater(TRow.LoadBytes(winners + place), TRow.Splat(Dead), TRow.Load(gradient + place), TRow.Zero);
            sum = TRow.Add(sum, live);
        }

        OuterSum.StoreFirst(bias, sum, filters);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Challenge<TLanes>(TLanes value, int position, ref TLanes best, ref TLanes winner)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        winner = TLanes.SelectGreater(value, best, TLanes.Splat(position), winner);
        best = TLanes.Max(value, best);
    }
}
