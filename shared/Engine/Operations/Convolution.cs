using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// y = relu?(x * w + b), for any kernel, stride and padding; Dense too. Forward and both gradients are tiled products
/// over tables of places, so nothing is unfolded; only borders of zeros cost a copy. Dense layers and 1 x 1 kernels are
/// plain matrix products and need no tables.
/// </summary>
internal sealed unsafe class Convolution<TLanes> : Operation
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly Edge _input, _output;
    private readonly ConvolutionGeometry _geometry;
    private readonly ConvolutionParameters _parameters;
    private readonly bool _relu;
    private readonly int _filterStride, _channelStride;
    private readonly NativeBuffer _weights, _bias, _noBias;
    private readonly NativeBuffer? _transposed;

    private readonly int _weightSums;

    public Convolution(Edge input, Edge output, ConvolutionGeometry geometry, ConvolutionParameters parameters, bool relu, ArenaPlan arena)
    {
        (_input, _output, _geometry, _parameters, _relu) = (input, output, geometry, parameters, relu);
        _filterStride = output.Value.ChannelStride;
        _channelStride = ArenaPlan.RoundUp(parameters.Channels);
        _weights = new NativeBuffer(checked(parameters.Taps * parameters.Channels * _filterStride));
        _bias = new NativeBuffer(_filterStride);
        _noBias = new NativeBuffer(_channelStride);
        _weightSums = arena.Reserve(_weights.Length);
        if (input.Gradient is not null)
            _transposed = new NativeBuffer(checked(parameters.Taps * parameters.Filters * _channelStride));
    }

    public override int? FirstParameter => _parameters.KernelOffset;

    public override string Kernels =>
        $"{(_geometry.IsMatrixProduct ? "matrix" : "direct")} product, {RowProduct.TileRows} x {TileColumns} tiles{(_relu ? ", relu fused" : "")}";

    private int TileColumns
    {
        get
        {
            int widest = TLanes.HasManyRegisters ? Pair<Pair<TLanes>>.Count : Pair<TLanes>.Count;
            while (widest > _filterStride)
                widest /= 2;
            return widest;
        }
    }

    public override void PrepareForward(float* parameters)
    {
        WeightPacking.PadColumns(
            parameters + _parameters.KernelOffset, _parameters.Taps * _parameters.Channels, _parameters.Filters, _weights.Pointer, _filterStride);
        WeightPacking.PadColumns(parameters + _parameters.BiasOffset, 1, _parameters.Filters, _bias.Pointer, _filterStride);
    }

    public override void PrepareBackward(float* parameters)
    {
        if (_transposed is null)
            return;
        WeightPacking.Transpose(
            parameters + _parameters.KernelOffset, _parameters.Taps, _parameters.Channels, _parameters.Filters, _transposed.Pointer, _channelStride);
    }

    public override void Forward(in Pass pass)
    {
        int pixels = pass.Samples * _output.Value.Pixels;
        if (_geometry.IsMatrixProduct)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _input.Value), new Matrix(_weights.Pointer, _filterStride), Pixels(pass, _output.Value), pixels, _filterStride, _parameters.Channels);
            Elementwise.AddBias<TLanes>(pass.At(_output.Value), pixels, _bias.Pointer, _filterStride, _relu);
            return;
        }

        CopyInside(pass, _input.Value, _geometry.Source, _geometry.SourceInterior);
        RowProduct.Run<TLanes>(
            pass.At(_geometry.Source), _geometry.Rows, pixels, _geometry.Segments, _weights.Pointer, _filterStride,
            _bias.Pointer, pass.At(_output.Value), _geometry.Outputs, _relu);
    }

    public override void Backward(in Pass pass)
    {
        int pixels = pass.Samples * _output.Value.Pixels;
        float* gradient = pass.At(_output.Gradient!);
        if (_relu)
            Elementwise.MaskByRelu<TLanes>(pass.At(_output.Value), gradient, pixels * _filterStride);
        OuterSum.Bias<TLanes>(gradient, _filterStride, pixels, pass.Gradient + _parameters.BiasOffset, _parameters.Filters);
        WeightGradient(pass, gradient, pixels);
        if (_input.Gradient is not null)
            DataGradient(pass, _input.Gradient, pixels);
    }

    public override void Dispose()
    {
        _weights.Dispose();
        _bias.Dispose();
        _noBias.Dispose();
        _transposed?.Dispose();
        base.Dispose();
    }

    private static Matrix Pixels(in Pass pass, Plane plane) => new(pass.At(plane), plane.ChannelStride);

    private void WeightGradient(in Pass pass, float* gradient, int pixels)
    {
        float* weights = pass.Gradient + _parameters.KernelOffset;
        if (_geometry.IsMatrixProduct && _parameters.Filters == _filterStride)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _input.Value).Transposed, new Matrix(gradient, _filterStride), new Matrix(weights, _filterStride),
                _parameters.Channels, _filterStride, pixels);
            return;
        }

        OuterSum.Run<TLanes>(
            pass.At(_geometry.Source), _geometry.Rows, pixels, _geometry.Segments, gradient, _filterStride, pass.At(_weightSums), weights, _parameters.Filters);
    }

    private void DataGradient(in Pass pass, Plane inputGradient, int pixels)
    {
        if (_geometry.IsMatrixProduct)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _output.Gradient!), new Matrix(_transposed!.Pointer, _channelStride), Pixels(pass, inputGradient),
                pixels, _channelStride, _parameters.Filters);
            return;
        }

        CopyInside(pass, _output.Gradient!, _geometry.GradientSource!, _geometry.GradientInterior);
        foreach (ConvolutionGeometry.Phase phase in _geometry.Phases)
        {
            RowProduct.Run<TLanes>(
                pass.At(_geometry.GradientSource!), phase.Rows, pass.Samples * phase.PixelsPerSample, phase.Segments, _transposed!.Pointer, _channelStride,
                _noBias.Pointer, pass.At(inputGradient), phase.Outputs, relu: false);
        }
    }

    /// <summary>Copies a plane into the middle of one with a border, which nobody writes and so stays zero.</summary>
    private static void CopyInside(in Pass pass, Plane from, Plane to, int interior)
    {
        if (from == to)
            return;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* source = pass.At(from) + ((nint)sample * from.SampleStride);
            float* target = pass.At(to) + ((nint)sample * to.SampleStride) + interior;
            for (int row = 0; row < from.Shape.Height; row++, source += from.RowStride, target += to.RowStride)
                new ReadOnlySpan<float>(source, from.RowStride).CopyTo(new Span<float>(target, from.RowStride));
        }
    }
}

/// <summary>Where a convolution's parameters lie in the flat array, and their extents. Kernel (taps, channels, filters).</summary>
internal readonly record struct ConvolutionParameters(int KernelOffset, int BiasOffset, int Taps, int Channels, int Filters);
