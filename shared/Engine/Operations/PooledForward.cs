using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>Where a convolution under a 2x2 max pool reads and writes.</summary>
/// <param name="Source">Its input, with a border where windows reach over the edge.</param>
/// <param name="Windows">For each window of a pass its place in the source.</param>
/// <param name="Pooled">The pool's output.</param>
/// <param name="Winners">Place of a wave's winners: a byte for each value of the output.</param>
internal sealed record PooledConvolution(Plane Source, int[] Windows, Plane Pooled, int Winners, ConvolutionParameters Parameters)
{
    public int FilterStride => Pooled.ChannelStride;

    public unsafe byte* WinnersAt(in Pass pass) => (byte*)pass.At(Winners) + ((nint)pass.First * Pooled.SampleStride);
}

/// <summary>The forward half of such a convolution: fills the pooled values and the winners.</summary>
internal abstract unsafe class PooledForward(PooledConvolution convolution) : IDisposable
{
    private readonly NativeBuffer _bias = new(convolution.FilterStride);

    /// <summary>The algorithm, for people.</summary>
    public abstract string Name { get; }

    protected PooledConvolution Convolution => convolution;

    protected float* Bias => _bias.Pointer;

    /// <summary>Packs this step's weights.</summary>
    public virtual void Prepare(float* parameters) =>
        WeightPacking.PadColumns(parameters + convolution.Parameters.BiasOffset, 1, convolution.Parameters.Filters, Bias, convolution.FilterStride);

    public abstract void Run(in Pass pass);

    public virtual void Dispose()
    {
        _bias.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>Term by term, for an input of few channels.</summary>
internal sealed unsafe class DirectPooledForward<TLanes> : PooledForward
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly NativeBuffer _weights;
    private readonly int _occupied, _empty, _occupiedCount;

    public DirectPooledForward(PooledConvolution convolution, ArenaPlan arena)
        : base(convolution)
    {
        _weights = new NativeBuffer(checked(convolution.Parameters.Taps * convolution.Parameters.Channels * convolution.FilterStride));
        _occupied = arena.Reserve(checked(arena.WaveSamples * convolution.Pooled.Pixels));
        _occupiedCount = arena.Reserve(arena.WaveSamples);
        _empty = arena.Reserve(convolution.Windows.Length);
    }

    public override string Name => "direct 3x3";

    public override void Prepare(float* parameters)
    {
        base.Prepare(parameters);
        ConvolutionParameters sizes = Convolution.Parameters;
        WeightPacking.PadColumns(parameters + sizes.KernelOffset, sizes.Taps * sizes.Channels, sizes.Filters, _weights.Pointer, Convolution.FilterStride);
    }

    public override void Run(in Pass pass)
    {
        int windows = pass.Samples * Convolution.Pooled.Pixels;
        DirectConvolutionPool kernel = new()
        {
            Input = pass.At(Convolution.Source),
            Places = Convolution.Windows,
            Weights = _weights.Pointer,
            Bias = Bias,
            FilterStride = Convolution.FilterStride,
            Channels = Convolution.Parameters.Channels,
            RowStride = Convolution.Source.RowStride,
            ChannelStride = Convolution.Source.ChannelStride,
            Pooled = pass.At(Convolution.Pooled),
            Winners = Convolution.WinnersAt(pass),
        };
        int occupied = EmptyWindows.Part(
            new(kernel.Input, kernel.RowStride, kernel.ChannelStride), Convolution.Source.SampleStride,
            pass.Samples, Convolution.Pooled.Shape.Height, Convolution.Pooled.Shape.Width, OccupiedAt(pass), (int*)pass.At(_empty));
        *OccupiedCountAt(pass) = occupied;
        kernel.Run<TLanes>(Occupied(pass));
        kernel.RunEmpty<TLanes>(new((int*)pass.At(_empty), windows - occupied));
    }

    /// <summary>A pass' windows that see anything, in order, as the way forward found them.</summary>
    public ReadOnlySpan<int> Occupied(in Pass pass) => new(OccupiedAt(pass), *OccupiedCountAt(pass));

    public override void Dispose()
    {
        _weights.Dispose();
        base.Dispose();
    }

    private int* OccupiedAt(in Pass pass) => (int*)pass.At(_occupied) + ((nint)pass.First * Convolution.Pooled.Pixels);

    private int* OccupiedCountAt(in Pass pass) => (int*)pass.At(_occupiedCount) + pass.First;
}

/// <summary>By Winograd's F(2x2,3x3), of which one tile is just one window: the convolution never reaches memory.</summary>
internal sealed unsafe class WindowPooledForward<TLanes> : PooledForward
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Windows that are transformed, multiplied and transformed back together: a multiple of the register tile's rows, few enough for the caches.</summary>
    private const int BlockTiles = TileProducts.BlockTiles;

    private readonly PackedKernel<Winograd2x2, TLanes> _kernel;
    private readonly TileBuffer _tiles, _products;

    public WindowPooledForward(PooledConvolution convolution, ArenaPlan arena)
        : base(convolution)
    {
        _kernel = new PackedKernel<Winograd2x2, TLanes>(convolution.Parameters, isTransposed: false);
        _tiles = TileBuffer.Reserve(arena, Winograd2x2.Products, BlockTiles, convolution.Source.ChannelStride);
        _products = TileBuffer.Reserve(arena, Winograd2x2.Products, BlockTiles, convolution.FilterStride);
    }

    public override string Name => $"Winograd {Winograd2x2.Name}";

    public override void Prepare(float* parameters)
    {
        base.Prepare(parameters);
        _kernel.Prepare(parameters);
    }

    public override void Run(in Pass pass)
    {
        Square source = new(pass.At(Convolution.Source), Convolution.Source.RowStride, Convolution.Source.ChannelStride);
        byte* winners = Convolution.WinnersAt(pass);
        int windows = pass.Samples * Convolution.Pooled.Pixels;
        for (int first = 0; first < windows; first += BlockTiles)
        {
            int count = Math.Min(BlockTiles, windows - first);
            for (int i = 0; i < count; i++)
            {
                Winograd2x2.TransformInput<TLanes>(
                    source.Moved(Convolution.Windows[first + i]), _tiles.Tile(pass.Arena, Winograd2x2.Products, i), _tiles.Channels);
            }

            TileProducts.Multiply<Winograd2x2, TLanes>(
                pass.Arena, _tiles, 0, _kernel.Columns(pass, 0), _products, 0, count, Convolution.Parameters.Channels);
            for (int i = 0; i < count; i++)
            {
                nint place = (nint)(first + i) * Convolution.FilterStride;
                TakeMaximum(_products.Tile(pass.Arena, Winograd2x2.Products, i), pass.At(Convolution.Pooled) + place, winners + place);
            }
        }
    }

    public override void Dispose()
    {
        _kernel.Dispose();
        base.Dispose();
    }

    private void TakeMaximum(Square products, float* pooled, byte* winners)
    {
        for (nint filter = 0; filter < Convolution.FilterStride; filter += TLanes.Count)
        {
            Quad<TLanes> window = Winograd2x2.Output<TLanes>(products.Moved(filter));
            WindowMaximum.Take(window.First, window.Second, window.Third, window.Fourth, Bias + filter, pooled + filter, winners + filter);
        }
    }
}
