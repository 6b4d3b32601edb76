using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// A step's weights (3,3,C,F) as a convolution algorithm multiplies by them: matrices (C, padded F) for the
/// way forward and, where asked for, (F, padded C) for the way back.
/// </summary>
internal sealed unsafe class TransformedKernel<TAlgorithm, TLanes> : IDisposable
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly ConvolutionParameters _parameters;
    private readonly int _filterStride, _channelStride;
    private readonly NativeBuffer _forward;
    private readonly NativeBuffer? _padded, _paddedTransposed, _backward;

    public TransformedKernel(ConvolutionParameters parameters, bool isTransposedToo)
    {
        _parameters = parameters;
        _filterStride = ArenaPlan.RoundUp(parameters.Filters);
        _channelStride = ArenaPlan.RoundUp(parameters.Channels);
        if (parameters.Filters != _filterStride)
            _padded = new NativeBuffer(checked(parameters.Taps * parameters.Channels * _filterStride));
        _forward = new NativeBuffer(checked(TAlgorithm.KernelMatrices * parameters.Channels * _filterStride));
        if (isTransposedToo)
        {
            _paddedTransposed = new NativeBuffer(checked(parameters.Taps * parameters.Filters * _channelStride));
            _backward = new NativeBuffer(checked(TAlgorithm.KernelMatrices * parameters.Filters * _channelStride));
        }
    }

    public float* Forward => _forward.Pointer;

    public float* Backward => _backward!.Pointer;

    public void Prepare(float* parameters)
    {
        float* kernel = parameters + _parameters.KernelOffset;
        float* padded = kernel;
        if (_padded is not null)
        {
            padded = _padded.Pointer;
            WeightPacking.PadColumns(kernel, _parameters.Taps * _parameters.Channels, _parameters.Filters, padded, _filterStride);
        }

        TAlgorithm.TransformKernel<TLanes>(padded, _forward.Pointer, _parameters.Channels, _filterStride);
        if (_paddedTransposed is null)
            return;
        WeightPacking.Transpose(kernel, _parameters.Taps, _parameters.Channels, _parameters.Filters, _paddedTransposed.Pointer, _channelStride);
        TAlgorithm.TransformKernel<TLanes>(_paddedTransposed.Pointer, _backward!.Pointer, _parameters.Filters, _channelStride);
    }

    public void Dispose()
    {
        _padded?.Dispose();
        _forward.Dispose();
        _paddedTransposed?.Dispose();
        _backward?.Dispose();
    }
}
