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
    private readonly NativeBuffer _bias, _noBias;

    /// <summary>Packed weights; null: they are read in place.</summary>
    private readonly NativeBuffer? _packed, _transposed;

    private readonly int _weightSums;

    /// <summary>In the arena: a pass' gradients of the output and of the input, a column for each pixel; -1: there are none.</summary>
    private readonly int _gradientColumns = -1, _inputGradientColumns = -1;

    private readonly int _columnStride;

    // Where the step's weights are: (taps, channels, padded filters), packed or in place; and in place as they are.
    private float* _weights, _kernel;

    /// <param name="readsInPlace">Whether the weights are read where they lie on the way back as well.</param>
    public Convolution(
        Edge input, Edge output, ConvolutionGeometry geometry, ConvolutionParameters parameters, bool relu, bool readsInPlace, ArenaPlan arena)
    {
        (_input, _output, _geometry, _parameters, _relu) = (input, output, geometry, parameters, relu);
        _filterStride = output.Value.ChannelStride;
        _channelStride = ArenaPlan.RoundUp(parameters.Channels);
        int weights = checked(parameters.Taps * parameters.Channels * _filterStride);
        if (!HasWholeRows)
            _packed = new NativeBuffer(weights);
        _bias = new NativeBuffer(_filterStride);
        _noBias = new NativeBuffer(_channelStride);
        if (!IsWeightGradientAProduct)
            _weightSums = arena.Reserve(weights);
        if (input.Gradient is null)
            return;
        if (readsInPlace && geometry.IsMatrixProduct)
        {
            _columnStride = ArenaPlan.RoundUp(checked(arena.PassSamples * output.Value.Pixels));
            _gradientColumns = arena.Reserve(checked(parameters.Filters * _columnStride));
            _inputGradientColumns = arena.Reserve(checked(parameters.Channels * _columnStride));
        }
        else
        {
            _transposed = new NativeBuffer(checked(parameters.Taps * parameters.Filters * _channelStride));
        }
    }

    public override int? FirstParameter => _parameters.KernelOffset;

    public override string Kernels =>
        $"{(_geometry.IsMatrixProduct ? "matrix" : "direct")} product, {RowProduct.TileRows} x {TileColumns} tiles{(_relu ? ", relu fused" : "")}{(_gradientColumns >= 0 ? ", weights in place" : "")}";

    /// <summary>Whether the kernel's rows are whole lines as they are, and nothing is to be padded.</summary>
    private bool HasWholeRows => _parameters.Filters == _filterStride && _parameters.KernelOffset % ArenaPlan.Alignment == 0;

    /// <summary>Whether the gradient of the weights is a plain matrix product, whose rows need no padding.</summary>
    private bool IsWeightGradientAProduct => _geometry.IsMatrixProduct && _parameters.Filters == _filterStride;

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
        _weights = parameters + _parameters.KernelOffset;
        if (_packed is not null)
        {
            WeightPacking.PadColumns(_weights, _parameters.Taps * _parameters.Channels, _parameters.Filters, _packed.Pointer, _filterStride);
            _weights = _packed.Pointer;
        }

        WeightPacking.PadColumns(parameters + _parameters.BiasOffset, 1, _parameters.Filters, _bias.Pointer, _filterStride);
    }

    public override void PrepareBackward(float* parameters)
    {
        _kernel = parameters + _parameters.KernelOffset;
        if (_transposed is not null)
            WeightPacking.Transpose(_kernel, _parameters.Taps, _parameters.Channels, _parameters.Filters, _transposed.Pointer, _channelStride);
    }

    public override void Forward(in Pass pass)
    {
        int pixels = pass.Samples * _output.Value.Pixels;
        if (_geometry.IsMatrixProduct)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _input.Value), new Matrix(_weights, _filterStride), Pixels(pass, _output.Value), pixels, _filterStride, _parameters.Channels);
            Elementwise.AddBias<TLanes>(pass.At(_output.Value), pixels, _bias.Pointer, _filterStride, _relu);
            return;
        }

        CopyInside(pass, _input.Value, _geometry.Source, _geometry.SourceInterior);
        RowProduct.Run<TLanes>(
            pass.At(_geometry.Source), _geometry.Rows, pixels, _geometry.Segments, _weights, _filterStride,
            _bias.Pointer, pass.At(_output.Value), _geometry.Outputs, _relu);
    }

    public override void BackwardWeights(in Pass pass)
    {
        int pixels = pass.Samples * _output.Value.Pixels;
        float* gradient = pass.At(_output.Gradient!);
        if (_relu)
            Elementwise.MaskByRelu<TLanes>(pass.At(_output.Value), gradient, pixels * _filterStride);
        OuterSum.Bias<TLanes>(gradient, _filterStride, pixels, pass.Gradient + _parameters.BiasOffset, _parameters.Filters);
        WeightGradient(pass, gradient, pixels);
    }

    public override void BackwardData(in Pass pass)
    {
        if (_input.Gradient is null)
            return;
        if (_transposed is null)
            DataGradientInPlace(pass, _input.Gradient);
        else
            DataGradient(pass, _input.Gradient, _transposed.Pointer);
    }

    public override void Dispose()
    {
        _packed?.Dispose();
        _bias.Dispose();
        _noBias.Dispose();
        _transposed?.Dispose();
        base.Dispose();
    }

    private static Matrix Pixels(in Pass pass, Plane plane) => new(pass.At(plane), plane.ChannelStride);

    private void WeightGradient(in Pass pass, float* gradient, int pixels)
    {
        float* weights = pass.Gradient + _parameters.KernelOffset;
        if (IsWeightGradientAProduct)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _input.Value).Transposed, new Matrix(gradient, _filterStride), new Matrix(weights, _filterStride),
                _parameters.Channels, _filterStride, pixels);
            return;
        }

        OuterSum.Run<TLanes>(
            pass.At(_geometry.Source), _geometry.Rows, pixels, _geometry.Segments, gradient, _filterStride, pass.At(_weightSums), weights, _parameters.Filters);
    }

    private void DataGradient(in Pass pass, Plane inputGradient, float* transposed)
    {
        if (_geometry.IsMatrixProduct)
        {
            Gemm.Multiply<TLanes>(
                Pixels(pass, _output.Gradient!), new Matrix(transposed, _channelStride), Pixels(pass, inputGradient),
                pass.Samples * _output.Value.Pixels, _channelStride, _parameters.Filters);
            return;
        }

        CopyInside(pass, _output.Gradient!, _geometry.GradientSource!, _geometry.GradientInterior);
        foreach (ConvolutionGeometry.Phase phase in _geometry.Phases)
        {
            RowProduct.Run<TLanes>(
                pass.At(_geometry.GradientSource!), phase.Rows, pass.Samples * phase.PixelsPerSample, phase.Segments, transposed, _channelStride,
                _noBias.Pointer, pass.At(inputGradient), phase.Outputs, relu: false);
        }
    }

    /// <summary>dx' = w dy', where the activations are turned and not the weights. Each sum is over the filters in order, as in dx = dy w'.</summary>
    private void DataGradientInPlace(in Pass pass, Plane inputGradient)
    {
        int pixels = pass.Samples * _output.Value.Pixels;
        float* dy = pass.At(_gradientColumns), dx = pass.At(_inputGradientColumns);
        Transposition.Run(pass.At(_output.Gradient!), _filterStride, pixels, _parameters.Filters, dy, _columnStride);
        Gemm.Multiply<TLanes>(
            new Matrix(_kernel, _parameters.Filters), new Matrix(dy, _columnStride), new Matrix(dx, _columnStride),
            _parameters.Channels, ArenaPlan.RoundUp(pixels), _parameters.Filters);
        Transposition.Run(dx, _columnStride, _parameters.Channels, pixels, pass.At(inputGradient), inputGradient.ChannelStride);
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
