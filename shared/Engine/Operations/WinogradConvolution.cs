using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// y = relu?(x * w + b) for a 3x3 kernel at stride 1, by a convolution algorithm: tiles of input are transformed, multiplied with
/// the transformed weights product by product, and transformed back; the gradients the same with the transposed transforms.
/// Forward may have an algorithm of its own, with tiles of the same size: it must keep zeros exact in front of ReLU, or have them
/// mended. The gradients need not: their noise is a millionth of the largest of a kernel's nine taps, or of a tile's pixels. A tap whose
/// gradient is exactly zero in every step meets zeros alone whenever its filter lives, so what RMSprop makes of the noise shows nowhere.
/// </summary>
internal sealed unsafe class WinogradConvolution<TForward, TBackward, TLanes> : Operation
    where TForward : IConvolutionAlgorithm
    where TBackward : ITransposableAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Part of the weights' gradient that is summed and transformed at a time, so that all its products stay in the first cache.</summary>
    private const int SliceChannels = 8, SliceFilters = 32;

    private readonly Edge _output;
    private readonly BorderedPlane _source, _sums, _outputGradient;
    private readonly BorderedPlane? _inputGradient;
    private readonly ConvolutionParameters _parameters;
    private readonly bool _relu;
    private readonly int _tilesPerSample, _filterStride;
    private readonly int[] _inputPlaces, _outputPlaces;
    private readonly NativeBuffer _bias;
    private readonly TransformedKernel<TForward, TLanes> _kernel;
    private readonly TransformedKernel<TBackward, TLanes>? _transposedKernel;
    private readonly TileBuffer _inputTiles, _backwardInputTiles, _gradientTiles, _outputBlock, _inputBlock, _weightSlice;
    private readonly int _tapSlice;

    public WinogradConvolution(Edge input, Edge output, Padding padding, ConvolutionParameters parameters, bool relu, ArenaPlan arena)
    {
        (_output, _parameters, _relu) = (output, parameters, relu);
        SampleShape shape = output.Value.Shape;
        int side = TForward.OutputSide;
        int tileRows = Tiles(shape.Height, side), tileColumns = Tiles(shape.Width, side);
        int border = padding == Padding.Same ? 1 : 0, height = tileRows * side, width = tileColumns * side;
        _source = new BorderedPlane(arena, input.Value, border, border, height + 2, width + 2);
        _sums = new BorderedPlane(arena, output.Value, 0, 0, height, width);
        _outputGradient = new BorderedPlane(arena, output.Gradient!, 0, 0, height, width);
        _tilesPerSample = tileRows * tileColumns;
        _inputPlaces = TilePlaces(_source.Plane, tileRows, tileColumns, arena.Microbatch);
        _outputPlaces = TilePlaces(_sums.Plane, tileRows, tileColumns, arena.Microbatch);
        _filterStride = output.Value.ChannelStride;
        int tiles = checked(arena.Microbatch * _tilesPerSample), channelStride = input.Value.ChannelStride;
        _inputTiles = TileBuffer.Reserve(arena, TForward.Products, tiles, channelStride);
        _backwardInputTiles = KeepsInputTiles ? _inputTiles : TileBuffer.Reserve(arena, TBackward.Products, tiles, channelStride);
        _gradientTiles = TileBuffer.Reserve(arena, TBackward.Products, tiles, _filterStride);
        _outputBlock = TileBuffer.Reserve(arena, TForward.Products, TileProducts.BlockTiles, _filterStride);
        _weightSlice = TileBuffer.Reserve(arena, TBackward.Products, SliceChannels, SliceFilters);
        _tapSlice = arena.Reserve(parameters.Taps * SliceFilters);
        _bias = new NativeBuffer(_filterStride);
        _kernel = new TransformedKernel<TForward, TLanes>(parameters, isTransposed: false);
        if (input.Gradient is not null)
        {
            _transposedKernel = new TransformedKernel<TBackward, TLanes>(parameters, isTransposed: true);
            _inputGradient = new BorderedPlane(arena, input.Gradient, border, border, _source.Plane.Shape.Height, _source.Plane.Shape.Width);
            _inputBlock = TileBuffer.Reserve(arena, TBackward.Products, TileProducts.BlockTiles, channelStride);
        }
    }

    public override int? FirstParameter => _parameters.KernelOffset;

    public override string Kernels =>
        $"{TForward.Name} in {Squared(TForward.Products)} products{(TForward.KeepsZeros ? "" : " mended where patches are empty")}{(_relu ? ", relu fused" : "")}; "
        + $"backward in {Squared(TBackward.Products)}";

    /// <summary>Whether backward can use what forward transformed.</summary>
    private static bool KeepsInputTiles => typeof(TForward) == typeof(TBackward);

    /// <summary>Multiplications for each pair of channels in one sample: what the choice between algorithms goes by.</summary>
    public static int CountProducts(SampleShape output) =>
        Tiles(output.Height, TForward.OutputSide) * Tiles(output.Width, TForward.OutputSide) * Squared(TForward.Products);

    public override void PrepareForward(float* parameters)
    {
        WeightPacking.PadColumns(parameters + _parameters.BiasOffset, 1, _parameters.Filters, _bias.Pointer, _filterStride);
        _kernel.Prepare(parameters);
    }

    public override void PrepareBackward(float* parameters) => _transposedKernel?.Prepare(parameters);

    public override void Forward(in Pass pass)
    {
        _source.CopyIn(pass);
        Square sums = Pixels(pass, _sums.Plane);
        int tiles = pass.Samples * _tilesPerSample;
        for (int first = 0; first < tiles; first += TileProducts.BlockTiles)
        {
            int count = Math.Min(TileProducts.BlockTiles, tiles - first);
            TransformInput<TForward>(pass, _inputTiles, first, count);
            TileProducts.Multiply<TForward, TLanes>(
                pass.Arena, _inputTiles, first, _kernel.Matrices, _outputBlock, 0, count, _parameters.Channels);
            for (int i = 0; i < count; i++)
            {
                TForward.TransformOutput<TLanes>(
                    _outputBlock.Tile(pass.Arena, TForward.Products, i), sums.Moved(_outputPlaces[first + i]), _filterStride);
            }
        }

        if (!TForward.KeepsZeros)
            ClearEmptyPatches(pass);
        _sums.CopyOut(pass);
        Elementwise.AddBias<TLanes>(pass.At(_output.Value), pass.Samples * _output.Value.Pixels, _bias.Pointer, _filterStride, _relu);
    }

    public override void Backward(in Pass pass)
    {
        int pixels = pass.Samples * _output.Value.Pixels, tiles = pass.Samples * _tilesPerSample;
        float* gradient = pass.At(_output.Gradient!);
        if (_relu)
            Elementwise.MaskByRelu<TLanes>(pass.At(_output.Value), gradient, pixels * _filterStride);
        OuterSum.Bias<TLanes>(gradient, _filterStride, pixels, pass.Gradient + _parameters.BiasOffset, _parameters.Filters);

        _outputGradient.CopyIn(pass);
        if (!KeepsInputTiles)
            TransformInput<TBackward>(pass, _backwardInputTiles, 0, tiles);
        TransposeOutput(pass, tiles);
        WeightGradient(pass, tiles);
        if (_inputGradient is null)
            return;
        DataGradient(pass, _inputGradient, tiles);
    }

    public override void Dispose()
    {
        _bias.Dispose();
        _kernel.Dispose();
        _transposedKernel?.Dispose();
        base.Dispose();
    }

    private static int Squared(int side) => side * side;

    private static int Tiles(int extent, int side) => (extent + side - 1) / side;

    private static int[] TilePlaces(Plane plane, int rows, int columns, int samples) =>
        [.. from sample in Enumerable.Range(0, samples)
            from y in Enumerable.Range(0, rows)
            from x in Enumerable.Range(0, columns)
            select (sample * plane.SampleStride) + (TForward.OutputSide * ((y * plane.RowStride) + (x * plane.ChannelStride)))];

    private static Square Pixels(in Pass pass, Plane plane) => new(pass.At(plane), plane.RowStride, plane.ChannelStride);

    private void TransformInput<T>(in Pass pass, TileBuffer tiles, int first, int count)
        where T : IConvolutionAlgorithm
    {
        Square source = Pixels(pass, _source.Plane);
        for (int tile = first; tile < first + count; tile++)
            T.TransformInput<TLanes>(source.Moved(_inputPlaces[tile]), tiles.Tile(pass.Arena, T.Products, tile), tiles.Channels);
    }

    private void ClearEmptyPatches(in Pass pass)
    {
        Square source = Pixels(pass, _source.Plane), sums = Pixels(pass, _sums.Plane);
        for (nint sample = 0; sample < pass.Samples; sample++)
        {
            EmptyPatches.Clear<TLanes>(
                source.Moved(sample * _source.Plane.SampleStride), _parameters.Channels, _output.Value.Shape.Height, _output.Value.Shape.Width,
                sums.Moved(sample * _sums.Plane.SampleStride), _filterStride);
        }
    }

    /// <summary>A dy A' of all tiles.</summary>
    private void TransposeOutput(in Pass pass, int tiles)
    {
        Square source = Pixels(pass, _outputGradient.Plane);
        for (int tile = 0; tile < tiles; tile++)
        {
            TBackward.TransposeOutput<TLanes>(
                source.Moved(_outputPlaces[tile]), _gradientTiles.Tile(pass.Arena, TBackward.Products, tile), _filterStride);
        }
    }

    /// <summary>dw = G' [(B' d B) . (A dy A')] G: for each product the outer sum over all tiles.</summary>
    private void WeightGradient(in Pass pass, int tiles)
    {
        for (int filter = 0; filter < _filterStride; filter += SliceFilters)
        {
            for (int channel = 0; channel < _parameters.Channels; channel += SliceChannels)
                WeightSlice(pass, tiles, channel, filter);
        }
    }

    private void WeightSlice(in Pass pass, int tiles, int channel, int filter)
    {
        int channels = Math.Min(SliceChannels, _parameters.Channels - channel), filters = Math.Min(SliceFilters, _filterStride - filter);
        Gemm.MultiplyEach<TLanes>(
            TBackward.Products * TBackward.Products,
            _backwardInputTiles.Product(pass.Arena, 0, 0).Transposed.Rows(channel), _backwardInputTiles.ProductStride,
            _gradientTiles.Product(pass.Arena, 0, 0).Columns(filter), _gradientTiles.ProductStride,
            _weightSlice.Product(pass.Arena, 0, 0), _weightSlice.ProductStride, channels, filters, tiles);
        nint tapStride = (nint)_parameters.Channels * _parameters.Filters;
        for (int i = 0; i < channels; i++)
        {
            Square slice = _weightSlice.Tile(pass.Arena, TBackward.Products, i);
            float* weights = pass.Gradient + _parameters.KernelOffset + ((nint)(channel + i) * _parameters.Filters) + filter;
            if (filter + filters <= _parameters.Filters)
                TBackward.TransposeKernel<TLanes>(slice, new(weights, 3 * tapStride, tapStride), filters);
            else
                TransposePadded(slice, pass.At(_tapSlice), filters, weights, tapStride, _parameters.Filters - filter);
        }
    }

    /// <summary>Where padding would be written over what follows.</summary>
    private void TransposePadded(Square slice, float* taps, int padded, float* weights, nint tapStride, int filters)
    {
        TBackward.TransposeKernel<TLanes>(slice, new(taps, 3 * padded, padded), padded);
        for (nint tap = 0; tap < _parameters.Taps; tap++)
            new ReadOnlySpan<float>(taps + (tap * padded), filters).CopyTo(new Span<float>(weights + (tap * tapStride), filters));
    }

    /// <summary>dx = B [(G g G') . (A dy A')] B', added where tiles overlap.</summary>
    private void DataGradient(in Pass pass, BorderedPlane inputGradient, int tiles)
    {
        inputGradient.Clear(pass);
        Square target = Pixels(pass, inputGradient.Plane);
        for (int first = 0; first < tiles; first += TileProducts.BlockTiles)
        {
            int count = Math.Min(TileProducts.BlockTiles, tiles - first);
            TileProducts.Multiply<TBackward, TLanes>(
                pass.Arena, _gradientTiles, first, _transposedKernel!.Matrices, _inputBlock, 0, count, _parameters.Filters);
            for (int i = 0; i < count; i++)
            {
                TBackward.AddTransposedInput<TLanes>(
                    _inputBlock.Tile(pass.Arena, TBackward.Products, i), target.Moved(_inputPlaces[first + i]), _inputBlock.Channels);
            }
        }

        inputGradient.CopyOut(pass);
    }
}
