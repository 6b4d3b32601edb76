using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// A step's weights (3,3,C,F) as a convolution algorithm multiplies by them: matrices (C, padded F) for the
/// way forward, or (F, padded C) for the way back.
/// </summary>
internal sealed unsafe class TransformedKernel<TAlgorithm, TLanes> : IDisposable
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly ConvolutionParameters _parameters;
    private readonly bool _isTransposed;
    private readonly int _rows, _columnStride, _matrixStride;
    private readonly NativeBuffer _matrices;
    private readonly NativeBuffer? _packed;

    /// <param name="isTransposed">Whether it is for the way back.</param>
    public TransformedKernel(ConvolutionParameters parameters, bool isTransposed)
    {
        (_parameters, _isTransposed) = (parameters, isTransposed);
        (_rows, int columns) = isTransposed ? (parameters.Filters, parameters.Channels) : (parameters.Channels, parameters.Filters);
        _columnStride = ArenaPlan.RoundUp(columns);
        _matrixStride = MatrixStride(_rows, _columnStride);
        _matrices = new NativeBuffer(checked(TAlgorithm.KernelMatrices * _matrixStride));
        if (isTransposed || columns != _columnStride)
            _packed = new NativeBuffer(checked(parameters.Taps * _rows * _columnStride));
    }

    public float* Matrices => _matrices.Pointer;

    /// <summary>Floats from one matrix to the next: a line more than it holds, so that they do not all fall into the same cache set.</summary>
    public static int MatrixStride(int rows, int columns) => checked((rows * columns) + ArenaPlan.Alignment);

    public void Prepare(float* parameters)
    {
        float* kernel = parameters + _parameters.KernelOffset, taps = kernel;
        if (_packed is not null)
        {
            taps = _packed.Pointer;
            if (_isTransposed)
                WeightPacking.Transpose(kernel, _parameters.Taps, _parameters.Channels, _parameters.Filters, taps, _columnStride);
            else
                WeightPacking.PadColumns(kernel, _parameters.Taps * _parameters.Channels, _parameters.Filters, taps, _columnStride);
        }

        TAlgorithm.TransformKernel<TLanes>(taps, _matrices.Pointer, _matrixStride, _rows * _columnStride);
    }

    public void Dispose()
    {
        _packed?.Dispose();
        _matrices.Dispose();
    }
}
