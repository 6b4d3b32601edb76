using System.Numerics;

namespace Distributed.Engine.Kernels;

/// <summary>A gradient that passed a pooling window, and where it goes.</summary>
internal readonly record struct LiveGradient(int Place, float Value);

/// <summary>
/// The gradients that pass the pooling, as lists: of each 2x2 window only the winner gets any, and none where the pooled value
/// is 0 after ReLU. About one in nine is left, and skipping the others loses nothing: they are zeros.
///
/// Both lists hold the windows in order, the first by filter, for the weights' gradient, the second by window and position,
/// for the data's. Bound by one mispredicted branch for each window and position, where the number of winners varies.
/// </summary>
internal unsafe ref struct LiveGradients
{
    private const int MaskFilters = 64;

    /// <summary>Filter f's gradients begin at f x <see cref="FilterCapacity"/>; their place is the winning position's in the input.</summary>
    public required LiveGradient* ByFilter { get; init; }

    public required int FilterCapacity { get; init; }

    /// <summary>How many each filter has.</summary>
    public required int* FilterCounts { get; init; }

    /// <summary>All gradients; their place is the filter's number times <see cref="FilterWeights"/>. Null where nobody needs them.</summary>
    public required LiveGradient* ByWindow { get; init; }

    /// <summary>Four for each window, one a position: the end of its gradients in <see cref="ByWindow"/>.</summary>
    public required int* PositionEnds { get; init; }

    public required int FilterWeights { get; init; }

    /// <summary>F, and its padded stride.</summary>
    public required int Filters { get; init; }

    public required int FilterStride { get; init; }

    /// <summary>How many are in <see cref="ByWindow"/> so far.</summary>
    public int Count { get; private set; }

    /// <summary>Adds one window's gradients.</summary>
    /// <param name="window">Its number.</param>
    /// <param name="winners">A row of <see cref="WindowMaximum"/>'s winners.</param>
    /// <param name="gradient">The gradient by the pooled values.</param>
    /// <param name="places">Places of the window's four positions in the input.</param>
    public void Add<TLanes>(int window, float* winners, float* gradient, scoped ReadOnlySpan<int> places)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        for (int position = 0; position < 4; position++)
        {
            int place = places[position];
            for (int first = 0; first < Filters; first += MaskFilters)
            {
                ulong live = Winners<TLanes>(winners + first, position + 1, Math.Min(MaskFilters, FilterStride - first));
                for (; live != 0; live &= live - 1)
                {
                    int filter = first + BitOperations.TrailingZeroCount(live);
                    float value = gradient[filter];
                    ByFilter[((nint)filter * FilterCapacity) + FilterCounts[filter]++] = new LiveGradient(place, value);
                    if (ByWindow is not null)
                        ByWindow[Count++] = new LiveGradient(filter * FilterWeights, value);
                }
            }

            PositionEnds[(4 * (nint)window) + position] = Count;
        }
    }

    /// <summary>Bit i is set where filter i's winner is this one. Padding never wins.</summary>
    private static ulong Winners<TLanes>(float* winners, int position, int count)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        ulong mask = 0;
        TLanes low = TLanes.Splat(position - 0.5f), high = TLanes.Splat(position + 0.5f);
        for (int i = 0; i < count; i += TLanes.Count)
        {
            TLanes winner = TLanes.Load(winners + i);
            mask |= (TLanes.GreaterMask(winner, low) & TLanes.GreaterMask(high, winner)) << i;
        }

        return mask;
    }
}
