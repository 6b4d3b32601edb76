using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// By a convolution algorithm with tiles that windows lie across: the sums of a few samples go through memory. What such an
/// algorithm does not keep exact is mended before the maximum is taken.
/// </summary>
internal sealed unsafe class TiledPooledForward<TAlgorithm, TLanes> : PooledForward
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Tiles that are transformed, multiplied and transformed back together: many, so that each of the many matrices is fetched once.</summary>
    private const int BlockTiles = 32;

    private readonly TransformedKernel<TAlgorithm, TLanes> _kernel;
    private readonly TileBuffer _tiles, _products;
    private readonly Plane _sums;
    private readonly int _tilesPerSample, _samplesPerGroup;
    private readonly int[] _tilePlaces, _sumPlaces, _windowPlaces;

    public TiledPooledForward(PooledConvolution convolution, ArenaPlan arena)
        : base(convolution)
    {
        SampleShape pooled = convolution.Pooled.Shape;
        int side = TAlgorithm.OutputSide;
        (int tileRows, int tileColumns) = CountTiles(pooled);
        _tilesPerSample = tileRows * tileColumns;
        _samplesPerGroup = Math.Clamp(BlockTiles / _tilesPerSample, 1, arena.Microbatch);
        _kernel = new TransformedKernel<TAlgorithm, TLanes>(convolution.Parameters, isTransposed: false);
        _tiles = TileBuffer.Reserve(arena, TAlgorithm.Products, BlockTiles, convolution.Source.ChannelStride);
        _products = TileBuffer.Reserve(arena, TAlgorithm.Products, BlockTiles, convolution.FilterStride);

        SampleShape sums = new(tileRows * side, tileColumns * side, pooled.Channels);
        int sampleStride = checked(sums.Height * sums.Width * convolution.FilterStride);
        _sums = new Plane(arena.Reserve(checked(_samplesPerGroup * sampleStride)), sums, convolution.FilterStride, sampleStride);
        _tilePlaces = Places(convolution.Source, tileRows, tileColumns, side, arena.Microbatch);
        _sumPlaces = Places(_sums, tileRows, tileColumns, side, _samplesPerGroup);
        _windowPlaces = Places(_sums, pooled.Height, pooled.Width, 2, _samplesPerGroup);
    }

    public override string Name => $"Winograd {TAlgorithm.Name}{(TAlgorithm.KeepsZeros ? "" : " mended where patches repeat")}";

    /// <summary>Rows and columns of tiles in a sample.</summary>
    public static (int Rows, int Columns) CountTiles(SampleShape pooled) =>
        (Divide(2 * pooled.Height, TAlgorithm.OutputSide), Divide(2 * pooled.Width, TAlgorithm.OutputSide));

    public override void Prepare(float* parameters)
    {
        base.Prepare(parameters);
        _kernel.Prepare(parameters);
    }

    public override void Run(in Pass pass)
    {
        for (int first = 0; first < pass.Samples; first += _samplesPerGroup)
        {
            int samples = Math.Min(_samplesPerGroup, pass.Samples - first);
            for (int tile = 0; tile < samples * _tilesPerSample; tile += BlockTiles)
                Convolve(pass, first, tile, Math.Min(BlockTiles, (samples * _tilesPerSample) - tile));
            Pool(pass, first, samples);
        }
    }

    public override void Dispose()
    {
        _kernel.Dispose();
        base.Dispose();
    }

    private static int Divide(int extent, int side) => (extent + side - 1) / side;

    private static int[] Places(Plane plane, int rows, int columns, int step, int samples) =>
        [.. from sample in Enumerable.Range(0, samples)
            from y in Enumerable.Range(0, rows)
            from x in Enumerable.Range(0, columns)
            select (sample * plane.SampleStride) + (step * ((y * plane.RowStride) + (x * plane.ChannelStride)))];

    private static Square Pixels(in Pass pass, Plane plane) => new(pass.At(plane), plane.RowStride, plane.ChannelStride);

    /// <summary>A block of tiles of the samples from one on.</summary>
    private void Convolve(in Pass pass, int firstSample, int firstTile, int count)
    {
        Square source = Pixels(pass, Convolution.Source), sums = Pixels(pass, _sums);
        ReadOnlySpan<int> places = _tilePlaces.AsSpan((firstSample * _tilesPerSample) + firstTile, count);
        for (int i = 0; i < count; i++)
            TAlgorithm.TransformInput<TLanes>(source.Moved(places[i]), _tiles.Tile(pass.Arena, TAlgorithm.Products, i), _tiles.Channels);
        TileProducts.Multiply<TAlgorithm, TLanes>(pass.Arena, _tiles, 0, _kernel.Matrices, _products, 0, count, Convolution.Parameters.Channels);
        for (int i = 0; i < count; i++)
        {
            TAlgorithm.TransformOutput<TLanes>(
                _products.Tile(pass.Arena, TAlgorithm.Products, i), sums.Moved(_sumPlaces[firstTile + i]), Convolution.FilterStride);
        }
    }

    private void Pool(in Pass pass, int firstSample, int samples)
    {
        int windows = Convolution.Pooled.Pixels, firstWindow = firstSample * windows;
        Square source = Pixels(pass, Convolution.Source), sums = Pixels(pass, _sums);
        for (int sample = 0; sample < samples && !TAlgorithm.KeepsZeros; sample++)
        {
            RepeatedPatches patches = new()
            {
                Input = source.Moved((nint)(firstSample + sample) * Convolution.Source.SampleStride),
                Rows = Convolution.Pooled.Shape.Height,
                Columns = Convolution.Pooled.Shape.Width,
                Channels = Convolution.Parameters.Channels,
                Sums = sums.Moved((nint)sample * _sums.SampleStride),
                Filters = Convolution.FilterStride,
            };
            patches.Mend<TLanes>();
        }

        byte* winners = Convolution.WinnersAt(pass);
        for (int i = 0; i < samples * windows; i++)
        {
            nint place = (nint)(firstWindow + i) * Convolution.FilterStride;
            TakeMaximum(sums.Moved(_windowPlaces[i]), pass.At(Convolution.Pooled) + place, winners + place);
        }
    }

    private void TakeMaximum(Square window, float* pooled, byte* winners)
    {
        for (nint filter = 0; filter < Convolution.FilterStride; filter += TLanes.Count)
        {
            float* top = window.Data + filter, bottom = top + window.RowStride;
            WindowMaximum.Take(
                TLanes.Load(top), TLanes.Load(top + window.ColumnStride), TLanes.Load(bottom), TLanes.Load(bottom + window.ColumnStride),
                Bias + filter, pooled + filter, winners + filter);
        }
    }
}
