using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// By a convolution algorithm with tiles that windows lie across: a sample's sums go through memory, which stays in the
/// first cache. What such an algorithm does not keep exact is mended as the maximum is taken, by taking other sums.
/// </summary>
internal sealed unsafe class TiledPooledForward<TAlgorithm, TLanes> : PooledForward
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Tiles that are transformed, multiplied and transformed back together: many, so that each of the many matrices is fetched once.</summary>
    private const int BlockTiles = 32;

    private readonly PackedKernel<TAlgorithm, TLanes> _kernel;
    private readonly TileBuffer _tiles, _products;

    /// <summary>One sample's.</summary>
    private readonly Plane _sums;

    private readonly int _tilesPerSample, _samplesPerGroup;

    /// <summary>In the arena: a row of sums that nobody writes, so that it stays zero; and for each window the places of its four sums.</summary>
    private readonly int _zeros, _windowSums;

    private readonly int[] _tilePlaces, _sumPlaces, _windowPlaces;

    public TiledPooledForward(PooledConvolution convolution, ArenaPlan arena)
        : base(convolution)
    {
        SampleShape pooled = convolution.Pooled.Shape;
        int side = TAlgorithm.OutputSide;
        (int tileRows, int tileColumns) = CountTiles(pooled);
        _tilesPerSample = tileRows * tileColumns;
        _samplesPerGroup = Math.Clamp(BlockTiles / _tilesPerSample, 1, arena.PassSamples);
        _kernel = new PackedKernel<TAlgorithm, TLanes>(convolution.Parameters, isTransposed: false);
        _tiles = TileBuffer.Reserve(arena, TAlgorithm.Products, BlockTiles, convolution.Source.ChannelStride);
        _products = TileBuffer.Reserve(arena, TAlgorithm.Products, BlockTiles, convolution.FilterStride);

        SampleShape sums = new(tileRows * side, tileColumns * side, pooled.Channels);
        int sampleStride = checked(sums.Height * sums.Width * convolution.FilterStride);
        _sums = new Plane(arena.Reserve(sampleStride), sums, convolution.FilterStride, sampleStride);
        _zeros = arena.Reserve(convolution.FilterStride);
        _windowSums = arena.Reserve(checked(4 * convolution.Windows.Length));
        _tilePlaces = Places(convolution.Source, tileRows, tileColumns, side, arena.PassSamples);
        _sumPlaces = Places(_sums, tileRows, tileColumns, side, 1);
        int[] positions = [0, _sums.ChannelStride, _sums.RowStride, _sums.RowStride + _sums.ChannelStride];
        _windowPlaces = [.. Places(_sums, pooled.Height, pooled.Width, 2, 1).SelectMany(place => positions, (place, position) => _sums.Offset + place + position)];
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
        for (int sample = 0; sample < pass.Samples; sample += _samplesPerGroup)
        {
            int first = sample * _tilesPerSample, end = Math.Min(sample + _samplesPerGroup, pass.Samples) * _tilesPerSample;
            for (; first < end; first += BlockTiles)
                Convolve(pass, first, Math.Min(BlockTiles, end - first));
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

    /// <summary>A block of tiles, and the pool of each sample whose last one is among them.</summary>
    private void Convolve(in Pass pass, int first, int count)
    {
        Plane pixels = Convolution.Source;
        Square source = new(pass.At(pixels), pixels.RowStride, pixels.ChannelStride), sums = new(pass.At(_sums.Offset), _sums.RowStride, _sums.ChannelStride);
        for (int i = 0; i < count; i++)
        {
            TAlgorithm.TransformInput<TLanes>(source.Moved(_tilePlaces[first + i]), _tiles.Tile(pass.Arena, TAlgorithm.Products, i), _tiles.Channels);
            if (IsLast(first + i))
                PlaceSums(pass, (first + i) / _tilesPerSample);
        }

        TileProducts.Multiply<TAlgorithm, TLanes>(pass.Arena, _tiles, 0, _kernel.Columns(pass, 0), _products, 0, count, Convolution.Parameters.Channels);
        for (int i = 0; i < count; i++)
        {
            TAlgorithm.TransformOutput<TLanes>(
                _products.Tile(pass.Arena, TAlgorithm.Products, i), sums.Moved(_sumPlaces[(first + i) % _tilesPerSample]), Convolution.FilterStride);
            if (IsLast(first + i))
                Pool(pass, (first + i) / _tilesPerSample);
        }
    }

    /// <summary>Whether it is its sample's last tile.</summary>
    private bool IsLast(int tile) => (tile + 1) % _tilesPerSample == 0;

    /// <summary>Notes where each window's sums are to be taken from: now, while the pixels are in the first cache, out of which the products drive them.</summary>
    private void PlaceSums(in Pass pass, int sample)
    {
        int windows = Convolution.Pooled.Pixels;
        RepeatedPatches patches = new()
        {
            RowStride = Convolution.Source.RowStride,
            PixelStride = Convolution.Source.ChannelStride,
            Channels = Convolution.Parameters.Channels,
            Zeros = _zeros,
        };
        int* places = SumsAt(pass, sample * windows);
        _windowPlaces.CopyTo(new Span<int>(places, _windowPlaces.Length));
        float* source = pass.At(Convolution.Source);
        for (int i = 0; i < windows && !TAlgorithm.KeepsZeros; i++)
            patches.Redirect<TLanes>(source + Convolution.Windows[(sample * windows) + i], places + (4 * i));
    }

    private void Pool(in Pass pass, int sample)
    {
        int windows = Convolution.Pooled.Pixels;
        for (int window = sample * windows; window < (sample + 1) * windows; window++)
        {
            nint place = (nint)window * Convolution.FilterStride;
            TakeMaximum(pass, SumsAt(pass, window), pass.At(Convolution.Pooled) + place, Convolution.WinnersAt(pass) + place);
        }
    }

    private int* SumsAt(in Pass pass, int window) => (int*)pass.At(_windowSums) + (4 * window);

    private void TakeMaximum(in Pass pass, int* places, float* pooled, byte* winners)
    {
        float* topLeft = pass.At(places[0]), topRight = pass.At(places[1]), bottomLeft = pass.At(places[2]), bottomRight = pass.At(places[3]);
        for (nint filter = 0; filter < Convolution.FilterStride; filter += TLanes.Count)
        {
            WindowMaximum.Take(
                TLanes.Load(topLeft + filter), TLanes.Load(topRight + filter), TLanes.Load(bottomLeft + filter), TLanes.Load(bottomRight + filter),
                Bias + filter, pooled + filter, winners + filter);
        }
    }
}
