using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// A step's weights (3,3,C,F) as a convolution algorithm multiplies by them: matrices (C, padded F) for the way forward, or
/// (F, padded C) for the way back.
/// </summary>
internal abstract unsafe class TransformedKernel<TAlgorithm, TLanes> : IDisposable
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <param name="isTransposed">Whether it is for the way back.</param>
    protected TransformedKernel(ConvolutionParameters parameters, bool isTransposed)
    {
        (Parameters, IsTransposed) = (parameters, isTransposed);
        (Rows, int columns) = isTransposed ? (parameters.Filters, parameters.Channels) : (parameters.Channels, parameters.Filters);
        ColumnStride = ArenaPlan.RoundUp(columns);
    }

    /// <summary>Columns that <see cref="Columns"/> gives at a time, fewer at the end.</summary>
    public abstract int ColumnsAtATime { get; }

    protected ConvolutionParameters Parameters { get; }

    protected bool IsTransposed { get; }

    protected int Rows { get; }

    /// <summary>Columns with their padding.</summary>
    protected int ColumnStride { get; }

    /// <summary>Takes a step's weights, which stay where they are as long as the step lasts.</summary>
    /// <param name="parameters">All P parameters.</param>
    public abstract void Prepare(float* parameters);

    /// <summary>The columns from one on, until the pass asks for others.</summary>
    /// <param name="first">A multiple of <see cref="ColumnsAtATime"/>.</param>
    public abstract KernelColumns Columns(in Pass pass, int first);

    public virtual void Dispose() => GC.SuppressFinalize(this);

    /// <summary>Floats from one matrix to the next: a line more than it holds, so that they do not all fall into the same cache set.</summary>
    protected static int MatrixStride(int rows, int columns) => checked((rows * columns) + ArenaPlan.Alignment);
}

/// <summary>One that is transformed whole, once a step.</summary>
internal sealed unsafe class PackedKernel<TAlgorithm, TLanes> : TransformedKernel<TAlgorithm, TLanes>
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly NativeBuffer _matrices;
    private readonly NativeBuffer? _packed;

    /// <param name="isTransposed">Whether it is for the way back.</param>
    public PackedKernel(ConvolutionParameters parameters, bool isTransposed)
        : base(parameters, isTransposed)
    {
        _matrices = new NativeBuffer(checked(TAlgorithm.KernelMatrices * MatrixStride(Rows, ColumnStride)));
        if (isTransposed || parameters.Filters != ColumnStride)
            _packed = new NativeBuffer(checked(parameters.Taps * Rows * ColumnStride));
    }

    public override int ColumnsAtATime => ColumnStride;

    public override void Prepare(float* parameters)
    {
        float* kernel = parameters + Parameters.KernelOffset, taps = kernel;
        if (_packed is not null)
        {
            taps = _packed.Pointer;
            if (IsTransposed)
                WeightPacking.Transpose(kernel, Parameters.Taps, Parameters.Channels, Parameters.Filters, taps, ColumnStride);
            else
                WeightPacking.PadColumns(kernel, Parameters.Taps * Parameters.Channels, Parameters.Filters, taps, ColumnStride);
        }

        int length = Rows * ColumnStride;
        TAlgorithm.TransformKernel<TLanes>(taps, length, _matrices.Pointer, MatrixStride(Rows, ColumnStride), length);
    }

    public override KernelColumns Columns(in Pass pass, int first) =>
        new(_matrices.Pointer, MatrixStride(Rows, ColumnStride), ColumnStride, ColumnStride);

    public override void Dispose()
    {
        _packed?.Dispose();
        _matrices.Dispose();
        base.Dispose();
    }
}

/// <summary>
/// One that is transformed a slab of columns at a time, just before they are multiplied by, and never kept: the matrices are several times
/// the kernel, and would go out to the cache that all cores share and come back. Worth it where a pass carries a whole wave.
/// </summary>
internal sealed unsafe class SlabwiseKernel<TAlgorithm, TLanes> : TransformedKernel<TAlgorithm, TLanes>
    where TAlgorithm : IConvolutionAlgorithm
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>Two vectors of the widest lanes, the row of a register tile.</summary>
    private const int SlabColumns = 32;

    private readonly int _scratch;
    private float* _kernel;

    /// <param name="isTransposed">Whether it is for the way back.</param>
    /// <param name="scratch">Place of <see cref="ScratchLength"/> floats in the arena, which may be another's that is not in use at the same time.</param>
    public SlabwiseKernel(ConvolutionParameters parameters, bool isTransposed, int scratch)
        : base(parameters, isTransposed) => _scratch = scratch;

    public override int ColumnsAtATime => SlabColumns;

    /// <summary>Floats of scratch memory that either way needs.</summary>
    public static int ScratchLength(ConvolutionParameters parameters)
    {
        int rows = Math.Max(parameters.Channels, parameters.Filters);
        return checked((TAlgorithm.KernelMatrices * MatrixStride(rows, SlabColumns)) + (parameters.Taps * rows * SlabColumns));
    }

    public override void Prepare(float* parameters) => _kernel = parameters + Parameters.KernelOffset;

    public override KernelColumns Columns(in Pass pass, int first)
    {
        int count = Math.Min(SlabColumns, ColumnStride - first);
        nint matrixStride = MatrixStride(Rows, SlabColumns), tapStride = (nint)Parameters.Channels * Parameters.Filters;
        float* matrices = pass.At(_scratch);
        if (IsTransposed)
        {
            float* taps = matrices + (TAlgorithm.KernelMatrices * matrixStride);
            int length = Rows * SlabColumns;
            for (nint tap = 0; tap < Parameters.Taps; tap++)
            {
                Transposition.Run(
                    _kernel + (tap * tapStride) + ((nint)first * Parameters.Filters), Parameters.Filters, Math.Min(count, Parameters.Channels - first), Rows,
                    taps + (tap * length), SlabColumns);
            }

            TAlgorithm.TransformKernel<TLanes>(taps, length, matrices, matrixStride, length);
        }
        else
        {
            for (nint row = 0; row < Rows; row++)
            {
                TAlgorithm.TransformKernel<TLanes>(
                    _kernel + (row * Parameters.Filters) + first, tapStride, matrices + (row * SlabColumns), matrixStride, count);
            }
        }

        return new KernelColumns(matrices, matrixStride, SlabColumns, count);
    }
}
