using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// A step's weights (3,3,C,F) as a convolution algorithm multiplies by them: for each product a matrix (C, padded F) for the
/// way forward and, where asked for, (F, padded C) for the way back.
/// </summary>
internal sealed unsafe class TransformedKernel<TAlgorithm, TLanes> : IDisposable
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly ConvolutionParameters _parameters;
    private readonly int _filterStride, _channelStride;
    private readonly NativeBuffer _padded, _forward;
    private readonly NativeBuffer? _paddedTransposed, _backward;

    public TransformedKernel(ConvolutionParameters parameters, bool isTransposedToo)
    {
        _parameters = parameters;
        _filterStride = ArenaPlan.RoundUp(parameters.Filters);
        _channelStride = ArenaPlan.RoundUp(parameters.Channels);
        int products = TAlgorithm.Products * TAlgorithm.Products;
        _padded = new NativeBuffer(checked(parameters.Taps * parameters.Channels * _filterStride));
        _forward = new NativeBuffer(checked(products * parameters.Channels * _filterStride));
        if (isTransposedToo)
        {
            _paddedTransposed = new NativeBuffer(checked(parameters.Taps * parameters.Filters * _channelStride));
            _backward = new NativeBuffer(checked(products * parameters.Filters * _channelStride));
        }
    }

    public float* Forward => _forward.Pointer;

    public float* Backward => _backward!.Pointer;

    public void Prepare(float* parameters)
    {
        float* kernel = parameters + _parameters.KernelOffset;
        WeightPacking.PadColumns(kernel, _parameters.Taps * _parameters.Channels, _parameters.Filters, _padded.Pointer, _filterStride);
        Transform(_padded.Pointer, _parameters.Channels, _filterStride, _forward.Pointer);
        if (_paddedTransposed is null)
            return;
        WeightPacking.Transpose(kernel, _parameters.Taps, _parameters.Channels, _parameters.Filters, _paddedTransposed.Pointer, _channelStride);
        Transform(_paddedTransposed.Pointer, _parameters.Filters, _channelStride, _backward!.Pointer);
    }

    public void Dispose()
    {
        _padded.Dispose();
        _forward.Dispose();
        _paddedTransposed?.Dispose();
        _backward?.Dispose();
    }

    private static void Transform(float* taps, int rows, int columns, float* products)
    {
        nint matrix = (nint)rows * columns;
        Square source = new(taps, 3 * matrix, matrix), target = new(products, TAlgorithm.Products * matrix, matrix);
        for (int row = 0; row < rows; row++)
            TAlgorithm.TransformKernel<TLanes>(source.Moved((nint)row * columns), target.Moved((nint)row * columns), columns);
    }
}
