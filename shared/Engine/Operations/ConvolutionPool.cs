using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// Conv2D 3x3 with ReLU and MaxPooling2D 2x2 in one: forward keeps the pooled values and which position won, backward
/// touches only what passed the pool. An input of many channels goes by Winograd's F(2x2,3x3), of which one tile is just one
/// window; one of few channels goes directly.
/// </summary>
internal sealed unsafe class ConvolutionPool<TLanes> : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>From here on the multiplications saved outweigh Winograd's transforms.</summary>
    private const int WinogradChannels = 16;

    /// <summary>Up to here the weights' gradient is better off with vectors of filters than with mostly empty ones of channels.</summary>
    private const int FewChannels = 4;

    private readonly Edge _output;
    private readonly BorderedPlane _source;
    private readonly BorderedPlane? _inputGradient;
    private readonly Plane _winners;
    private readonly ConvolutionParameters _parameters;
    private readonly int[] _windows;
    private readonly int _filterStride, _order, _occupied;
    private readonly bool _isWinograd, _hasFewChannels;
    private readonly NativeBuffer _bias;
    private readonly NativeBuffer? _weights;
    private readonly TransformedKernel<Winograd2x2, TLanes>? _transformed;
    private readonly TileBuffer _tiles, _products;
    private readonly LiveGradientLists<TLanes>? _live;

    public ConvolutionPool(Edge input, Edge output, Padding padding, ConvolutionParameters parameters, ArenaPlan arena)
    {
        (_output, _parameters) = (output, parameters);
        SampleShape pooled = output.Value.Shape;
        int border = padding == Padding.Same ? 1 : 0;
        _source = new BorderedPlane(arena, input.Value, border, border, (2 * pooled.Height) + 2, (2 * pooled.Width) + 2);
        _windows = WindowTable(_source.Plane, pooled, arena.Microbatch);
        _winners = arena.ReserveLike(output.Value);
        _filterStride = output.Value.ChannelStride;
        _bias = new NativeBuffer(_filterStride);
        _isWinograd = parameters.Channels >= WinogradChannels && HasWholeLines(input.Value);
        _hasFewChannels = parameters.Channels <= FewChannels || !HasWholeLines(input.Value);
        if (_isWinograd)
        {
            _transformed = new TransformedKernel<Winograd2x2, TLanes>(parameters, isTransposedToo: false);
            _tiles = TileBuffer.Reserve(arena, Winograd2x2.Products, TileProducts.BlockTiles, input.Value.ChannelStride);
            _products = TileBuffer.Reserve(arena, Winograd2x2.Products, TileProducts.BlockTiles, _filterStride);
        }
        else
        {
            _weights = new NativeBuffer(checked(parameters.Taps * parameters.Channels * _filterStride));
        }

        _order = arena.Reserve(_windows.Length);
        _occupied = arena.Reserve(1);

        if (input.Gradient is not null)
            _inputGradient = new BorderedPlane(arena, input.Gradient, border, border, _source.Plane.Shape.Height, _source.Plane.Shape.Width);
        if (input.Gradient is not null || !_hasFewChannels)
            _live = new LiveGradientLists<TLanes>(arena, _source.Plane, _windows, output.Value, parameters, input.Gradient is not null);
    }

    public override string Kernels =>
        $"{(_isWinograd ? $"Winograd {Winograd2x2.Name}" : "direct 3x3")} with relu and pool fused; backward "
        + (_hasFewChannels ? "by windows" : "only where a gradient passes the pool");

    /// <summary>Whether such a layer pair can be fused.</summary>
    public static bool Fits(Conv2D convolution, MaxPooling2D pool, Edge input, SampleShape convolved) =>
        convolution.KernelSize == new Size2D(3, 3)
        && convolution.Strides == new Size2D(1, 1)
        && convolution.Activation == ActivationKind.Relu
        && pool.PoolSize == new Size2D(2, 2)
        && pool.Strides == new Size2D(2, 2)
        && (pool.Padding == Padding.Valid || (convolved.Height % 2 == 0 && convolved.Width % 2 == 0))
        && (input.Gradient is null || HasWholeLines(input.Value));

    public override void Prepare(float* parameters)
    {
        float* kernel = parameters + _parameters.KernelOffset;
        WeightPacking.PadColumns(parameters + _parameters.BiasOffset, 1, _parameters.Filters, _bias.Pointer, _filterStride);
        _transformed?.Prepare(parameters);
        if (_weights is not null)
            WeightPacking.PadColumns(kernel, _parameters.Taps * _parameters.Channels, _parameters.Filters, _weights.Pointer, _filterStride);
        _live?.Prepare(kernel);
    }

    public override void Forward(in Pass pass)
    {
        _source.CopyIn(pass);
        if (_isWinograd)
            ForwardTiles(pass);
        else
            ForwardWindows(pass);
    }

    public override void Backward(in Pass pass)
    {
        int windows = pass.Samples * _output.Value.Pixels;
        float* winners = pass.At(_winners), gradient = pass.At(_output.Gradient!);
        WindowMaximum.SumBiasGradient<TLanes>(winners, gradient, _filterStride, windows, pass.Gradient + _parameters.BiasOffset, _parameters.Filters);
        if (_hasFewChannels)
        {
            FewChannelsWeightGradient.Run<TLanes>(
                pass.At(_source.Plane), _source.Plane.RowStride, _source.Plane.ChannelStride, _parameters.Channels, _windows, Occupied(pass),
                winners, gradient, _filterStride, pass.Gradient + _parameters.KernelOffset, _parameters.Filters);
        }

        if (_live is null)
            return;
        _live.Collect(pass, winners, gradient);
        if (!_hasFewChannels)
            _live.WeightGradient(pass, pass.Gradient + _parameters.KernelOffset);
        if (_inputGradient is null)
            return;
        _inputGradient.Clear(pass);
        _live.DataGradient(pass, gradient, pass.At(_inputGradient.Plane));
        _inputGradient.CopyOut(pass);
    }

    public override void Dispose()
    {
        _weights?.Dispose();
        _transformed?.Dispose();
        _bias.Dispose();
        _live?.Dispose();
        base.Dispose();
    }

    /// <summary>Kernels with vectors of input channels need pixels padded to whole lines, which images are not.</summary>
    private static bool HasWholeLines(Plane plane) => plane.ChannelStride % ArenaPlan.Alignment == 0;

    private static int[] WindowTable(Plane source, SampleShape pooled, int samples) =>
        [.. from sample in Enumerable.Range(0, samples)
            from y in Enumerable.Range(0, pooled.Height)
            from x in Enumerable.Range(0, pooled.Width)
            select (sample * source.SampleStride) + (2 * y * source.RowStride) + (2 * x * source.ChannelStride)];

    private void ForwardWindows(in Pass pass)
    {
        int windows = pass.Samples * _output.Value.Pixels;
        DirectConvolutionPool kernel = new()
        {
            Input = pass.At(_source.Plane),
            Places = _windows,
            Weights = _weights!.Pointer,
            Bias = _bias.Pointer,
            FilterStride = _filterStride,
            Channels = _parameters.Channels,
            RowStride = _source.Plane.RowStride,
            ChannelStride = _source.Plane.ChannelStride,
            Pooled = pass.At(_output.Value),
            Winners = pass.At(_winners),
        };
        int occupied = EmptyWindows.Part(kernel.Input, _windows.AsSpan(0, windows), kernel.RowStride, kernel.ChannelStride, (int*)pass.At(_order));
        *(int*)pass.At(_occupied) = occupied;
        kernel.Run<TLanes>(Order(pass, 0, occupied));
        kernel.RunEmpty<TLanes>(Order(pass, occupied, windows - occupied));
    }

    /// <summary>The windows that see anything, in order, as forward found them.</summary>
    private ReadOnlySpan<int> Occupied(in Pass pass) => Order(pass, 0, *(int*)pass.At(_occupied));

    private ReadOnlySpan<int> Order(in Pass pass, int first, int count) => new((int*)pass.At(_order) + first, count);

    private void ForwardTiles(in Pass pass)
    {
        Square source = new(pass.At(_source.Plane), _source.Plane.RowStride, _source.Plane.ChannelStride);
        int windows = pass.Samples * _output.Value.Pixels;
        for (int first = 0; first < windows; first += TileProducts.BlockTiles)
        {
            int count = Math.Min(TileProducts.BlockTiles, windows - first);
            for (int i = 0; i < count; i++)
            {
                Winograd2x2.TransformInput<TLanes>(
                    source.Moved(_windows[first + i]), _tiles.Tile(pass.Arena, Winograd2x2.Products, i), _tiles.Channels);
            }

            TileProducts.Multiply<Winograd2x2, TLanes>(
                pass.Arena, _tiles, 0, _transformed!.Forward, _products, 0, count, _parameters.Channels);
            for (int i = 0; i < count; i++)
            {
                nint place = (nint)(first + i) * _filterStride;
                TakeMaximum(_products.Tile(pass.Arena, Winograd2x2.Products, i), pass.At(_output.Value) + place, pass.At(_winners) + place);
            }
        }
    }

    private void TakeMaximum(Square products, float* pooled, float* winners)
    {
        for (nint filter = 0; filter < _filterStride; filter += TLanes.Count)
        {
            Quad<TLanes> window = Winograd2x2.Output<TLanes>(products.Moved(filter));
            WindowMaximum.Take(
                window.First, window.Second, window.Third, window.Fourth, _bias.Pointer + filter, pooled + filter, winners + filter);
        }
    }
}
