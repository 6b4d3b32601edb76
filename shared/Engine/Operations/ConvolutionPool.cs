using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// Conv2D 3x3 with ReLU and MaxPooling2D 2x2 in one: forward keeps the pooled values and which position won, backward
/// touches only what passed the pool. An input of many channels goes by Winograd's algorithms, one of few channels directly.
/// A pass carries a microbatch: what lives in one is marked anew for the next.
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
    private readonly PooledConvolution _convolution;
    private readonly ConvolutionParameters _parameters;
    private readonly PooledForward _forward;
    private readonly SparsePooledBackward<TLanes>? _sparse;

    public ConvolutionPool(Edge input, Edge output, Padding padding, ConvolutionParameters parameters, ArenaPlan arena)
    {
        (_output, _parameters) = (output, parameters);
        SampleShape pooled = output.Value.Shape;
        bool isWinograd = parameters.Channels >= WinogradChannels && HasWholeLines(input.Value);
        (int rows, int columns) = TiledPooledForward<Winograd5x5, TLanes>.CountTiles(pooled);
        bool hasLargeTiles = isWinograd
            && rows * columns * Winograd5x5.Products * Winograd5x5.Products < pooled.Height * pooled.Width * Winograd2x2.Products * Winograd2x2.Products;
        (int height, int width) = hasLargeTiles
            ? (rows * Winograd5x5.OutputSide, columns * Winograd5x5.OutputSide)
            : (2 * pooled.Height, 2 * pooled.Width);
        int border = padding == Padding.Same ? 1 : 0;
        _source = new BorderedPlane(arena, input.Value, border, border, height + 2, width + 2);
        int winners = arena.Reserve(checked(arena.WaveSamples * output.Value.SampleStride) / sizeof(float));
        _convolution = new PooledConvolution(_source.Plane, WindowTable(_source.Plane, pooled, arena.PassSamples), output.Value, winners, parameters);
        _forward = hasLargeTiles ? new TiledPooledForward<Winograd5x5, TLanes>(_convolution, arena)
            : isWinograd ? new WindowPooledForward<TLanes>(_convolution, arena)
            : new DirectPooledForward<TLanes>(_convolution, arena);

        if (input.Gradient is not null)
            _inputGradient = new BorderedPlane(arena, input.Gradient, border, border, _source.Plane.Shape.Height, _source.Plane.Shape.Width);
        HasFewChannels = parameters.Channels <= FewChannels || !HasWholeLines(input.Value);
        if (input.Gradient is not null || !HasFewChannels)
            _sparse = new SparsePooledBackward<TLanes>(arena, _convolution, input.Gradient is not null);
    }

    public override int? FirstParameter => _parameters.KernelOffset;

    public override string Kernels =>
        $"{_forward.Name} with relu and pool fused; backward {(HasFewChannels ? "by windows" : "only where a gradient passes the pool")}";

    /// <summary>Whether the weights' gradient goes by windows; forward is direct then.</summary>
    private bool HasFewChannels { get; }

    /// <summary>Whether such a layer pair can be fused.</summary>
    public static bool Fits(Conv2D convolution, MaxPooling2D pool, Edge input, SampleShape convolved) =>
        convolution.KernelSize == new Size2D(3, 3)
        && convolution.Strides == new Size2D(1, 1)
        && convolution.Activation == ActivationKind.Relu
        && pool.PoolSize == new Size2D(2, 2)
        && pool.Strides == new Size2D(2, 2)
        && (pool.Padding == Padding.Valid || (convolved.Height % 2 == 0 && convolved.Width % 2 == 0))
        && (input.Gradient is null || HasWholeLines(input.Value));

    public override void PrepareForward(float* parameters) => _forward.Prepare(parameters);

    public override void PrepareBackward(float* parameters) => _sparse?.Prepare(parameters + _parameters.KernelOffset);

    public override void Forward(in Pass pass)
    {
        _source.CopyIn(pass);
        _forward.Run(pass);
    }

    public override void BackwardWeights(in Pass pass)
    {
        int windows = pass.Samples * _output.Value.Pixels, filterStride = _convolution.FilterStride;
        byte* winners = _convolution.WinnersAt(pass);
        float* gradient = pass.At(_output.Gradient!), weights = pass.Gradient + _parameters.KernelOffset;
        WindowMaximum.SumBiasGradient<TLanes>(winners, gradient, filterStride, windows, pass.Gradient + _parameters.BiasOffset, _parameters.Filters);
        if (HasFewChannels)
        {
            FewChannelsWeightGradient kernel = new()
            {
                Input = pass.At(_source.Plane),
                RowStride = _source.Plane.RowStride,
                ChannelStride = _source.Plane.ChannelStride,
                Channels = _parameters.Channels,
                Places = _convolution.Windows,
                Windows = ((DirectPooledForward<TLanes>)_forward).Occupied(pass),
                Winners = winners,
                Gradient = gradient,
                FilterStride = filterStride,
            };
            kernel.Write<TLanes>(weights, _parameters.Filters);
        }

        _sparse?.Mark(pass);
        if (!HasFewChannels)
            _sparse!.WeightGradient(pass, gradient, weights);
    }

    // Only where a gradient lives, by the marks that BackwardWeights has just made.
    public override void BackwardData(in Pass pass)
    {
        if (_inputGradient is null)
            return;
        _sparse!.DataGradient(pass, pass.At(_output.Gradient!), pass.At(_inputGradient.Plane));
        _inputGradient.CopyOut(pass);
    }

    public override void Dispose()
    {
        _forward.Dispose();
        _sparse?.Dispose();
        base.Dispose();
    }

    /// <summary>Kernels with vectors of input channels need pixels padded to whole lines, which images are not.</summary>
    private static bool HasWholeLines(Plane plane) => plane.ChannelStride % ArenaPlan.Alignment == 0;

    private static int[] WindowTable(Plane source, SampleShape pooled, int samples) =>
        [.. from sample in Enumerable.Range(0, samples)
            from y in Enumerable.Range(0, pooled.Height)
            from x in Enumerable.Range(0, pooled.Width)
            select (sample * source.SampleStride) + (2 * y * source.RowStride) + (2 * x * source.ChannelStride)];
}
