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
    private readonly bool _relu, _takesWholeWaves;
    private readonly int _tilesPerSample, _filterStride, _channelStride;
    private readonly int[] _inputPlaces, _outputPlaces;
    private readonly NativeBuffer _bias;
    private readonly TransformedKernel<TForward, TLanes> _kernel;
    private readonly TransformedKernel<TBackward, TLanes>? _transposedKernel;
    private readonly TileBuffer _inputTiles, _backwardInputTiles, _gradientTiles, _outputBlock, _inputBlock, _weightSlice;
    private readonly int _tapSlice;

    /// <param name="readsInPlace">Whether the weights are transformed piece by piece in each pass, where they lie, and not once a step.</param>
    public WinogradConvolution(
        Edge input, Edge output, Padding padding, ConvolutionParameters parameters, bool relu, bool readsInPlace, ArenaPlan arena)
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
        _inputPlaces = TilePlaces(_source.Plane, tileRows, tileColumns, arena.PassSamples);
        _outputPlaces = TilePlaces(_sums.Plane, tileRows, tileColumns, arena.PassSamples);
        _filterStride = output.Value.ChannelStride;
        _channelStride = input.Value.ChannelStride;
        _takesWholeWaves = arena.PassSamples == arena.WaveSamples;
        int passTiles = checked(arena.PassSamples * _tilesPerSample);
        int inputTiles = KeepsInputTiles ? checked(arena.WaveSamples * _tilesPerSample) : passTiles;
        _inputTiles = TileBuffer.Reserve(arena, TForward.Products, inputTiles, _channelStride);
        _backwardInputTiles = KeepsInputTiles
            ? _inputTiles
            : TileBuffer.Reserve(arena, TBackward.Products, checked(arena.Microbatch * _tilesPerSample), _channelStride);
        _gradientTiles = TileBuffer.Reserve(arena, TBackward.Products, passTiles, _filterStride);
        _weightSlice = TileBuffer.Reserve(arena, TBackward.Products, SliceChannels, SliceFilters);
        _tapSlice = arena.Reserve(parameters.Taps * SliceFilters);
        _bias = new NativeBuffer(_filterStride);
        int scratch = readsInPlace
            ? arena.Reserve(Math.Max(SlabwiseKernel<TForward, TLanes>.ScratchLength(parameters), SlabwiseKernel<TBackward, TLanes>.ScratchLength(parameters)))
            : -1;
        _kernel = readsInPlace
            ? new SlabwiseKernel<TForward, TLanes>(parameters, isTransposed: false, scratch)
            : new PackedKernel<TForward, TLanes>(parameters, isTransposed: false);
        _outputBlock = TileBuffer.Reserve(arena, TForward.Products, TileProducts.BlockTiles, Math.Min(_kernel.ColumnsAtATime, _filterStride));
        if (input.Gradient is not null)
        {
            _transposedKernel = readsInPlace
                ? new SlabwiseKernel<TBackward, TLanes>(parameters, isTransposed: true, scratch)
                : new PackedKernel<TBackward, TLanes>(parameters, isTransposed: true);
            _inputGradient = new BorderedPlane(arena, input.Gradient, border, border, _source.Plane.Shape.Height, _source.Plane.Shape.Width);
            _inputBlock = TileBuffer.Reserve(
                arena, TBackward.Products, TileProducts.BlockTiles, Math.Min(_transposedKernel.ColumnsAtATime, _channelStride));
        }
    }

    public override int? FirstParameter => _parameters.KernelOffset;

    public override string Kernels =>
        $"{TForward.Name} in {Squared(TForward.Products)} products{(TForward.KeepsZeros ? "" : " mended where patches are empty")}{(_relu ? ", relu fused" : "")}; "
        + $"backward in {Squared(TBackward.Products)}{(_kernel is SlabwiseKernel<TForward, TLanes> ? ", weights transformed wave by wave" : "")}";

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
        for (int filter = 0; filter < _filterStride; filter += _kernel.ColumnsAtATime)
            MultiplyForward(pass, filter, _kernel.Columns(pass, filter));
        if (!TForward.KeepsZeros)
            ClearEmptyPatches(pass);
        _sums.CopyOut(pass);
        Elementwise.AddBias<TLanes>(pass.At(_output.Value), pass.Samples * _output.Value.Pixels, _bias.Pointer, _filterStride, _relu);
    }

    public override void BackwardWeights(in Pass pass)
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
    }

    /// <summary>dx = B [(G g G') . (A dy A')] B', added where tiles overlap; BackwardWeights has made A dy A'.</summary>
    public override void BackwardData(in Pass pass)
    {
        if (_inputGradient is null || _transposedKernel is null)
            return;
        _inputGradient.Clear(pass);
        for (int channel = 0; channel < _channelStride; channel += _transposedKernel.ColumnsAtATime)
            MultiplyBackward(pass, _inputGradient, channel, _transposedKernel.Columns(pass, channel));
        _inputGradient.CopyOut(pass);
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

    /// <summary>Where a pass' tiles begin among the input's: those that are kept for the way back are a wave's.</summary>
    private int FirstInputTile(in Pass pass) => KeepsInputTiles ? pass.First * _tilesPerSample : 0;

    /// <summary>The same among the gradient's: of a wave, where the whole of it goes on to the input's gradient.</summary>
    private int FirstGradientTile(in Pass pass) => _takesWholeWaves ? pass.First * _tilesPerSample : 0;

    private void TransformInput<T>(in Pass pass, TileBuffer tiles, int first, int count)
        where T : IConvolutionAlgorithm
    {
        Square source = Pixels(pass, _source.Plane);
        for (int tile = first; tile < first + count; tile++)
            T.TransformInput<TLanes>(source.Moved(_inputPlaces[tile]), tiles.Tile(pass.Arena, T.Products, FirstInputTile(pass) + tile), tiles.Channels);
    }

    /// <summary>The sums of some filters, from the first one on.</summary>
    private void MultiplyForward(in Pass pass, int filter, in KernelColumns kernel)
    {
        Square sums = Pixels(pass, _sums.Plane);
        int tiles = pass.Samples * _tilesPerSample;
        for (int first = 0; first < tiles; first += TileProducts.BlockTiles)
        {
            int count = Math.Min(TileProducts.BlockTiles, tiles - first);
            if (filter == 0)
                TransformInput<TForward>(pass, _inputTiles, first, count);
            TileProducts.Multiply<TForward, TLanes>(
                pass.Arena, _inputTiles, FirstInputTile(pass) + first, kernel, _outputBlock, 0, count, _parameters.Channels);
            for (int i = 0; i < count; i++)
            {
                TForward.TransformOutput<TLanes>(
                    _outputBlock.Tile(pass.Arena, TForward.Products, i), sums.Moved(_outputPlaces[first + i] + filter), kernel.Count);
            }
        }
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
                source.Moved(_outputPlaces[tile]), _gradientTiles.Tile(pass.Arena, TBackward.Products, FirstGradientTile(pass) + tile), _filterStride);
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
            _backwardInputTiles.Product(pass.Arena, 0, FirstInputTile(pass)).Transposed.Rows(channel), _backwardInputTiles.ProductStride,
            _gradientTiles.Product(pass.Arena, 0, FirstGradientTile(pass)).Columns(filter), _gradientTiles.ProductStride,
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

    /// <summary>Adds to the gradient of some channels of the input, from the first one on.</summary>
    private void MultiplyBackward(in Pass pass, BorderedPlane inputGradient, int channel, in KernelColumns kernel)
    {
        Square target = Pixels(pass, inputGradient.Plane);
        int tiles = pass.Samples * _tilesPerSample;
        for (int first = 0; first < tiles; first += TileProducts.BlockTiles)
        {
            int count = Math.Min(TileProducts.BlockTiles, tiles - first);
            TileProducts.Multiply<TBackward, TLanes>(
                pass.Arena, _gradientTiles, FirstGradientTile(pass) + first, kernel, _inputBlock, 0, count, _parameters.Filters);
            for (int i = 0; i < count; i++)
            {
                TBackward.AddTransposedInput<TLanes>(
                    _inputBlock.Tile(pass.Arena, TBackward.Products, i), target.Moved(_inputPlaces[first + i] + channel), kernel.Count);
            }
        }
    }
}
