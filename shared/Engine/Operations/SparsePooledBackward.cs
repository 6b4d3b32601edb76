using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// The backward half of a convolution under a max pool, only where a gradient passes the pool: who lives, its memory, and the two
/// kernels that run over it.
/// </summary>
internal sealed unsafe class SparsePooledBackward<TLanes> : IDisposable
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>What of the input is summed over at a time should stay in a first cache of 48 KB.</summary>
    private const int GroupFloats = 11 * 1024;

    /// <summary>Fewer would not pay for loading and storing the sums.</summary>
    private const int FewestWindows = 16;

    /// <summary>Of a word of a mask.</summary>
    private const int FloatsPerWord = 2;

    private readonly PooledConvolution _convolution;
    private readonly int _windowsPerSample, _windowsPerGroup, _filterWords;
    private readonly int _masks, _byFilter, _places, _placesByFilter, _gradientByFilter, _weightGradient;
    private readonly NativeBuffer? _blocks;

    /// <param name="convolution">Its source's gradient has the source's layout.</param>
    /// <param name="needsData">Whether anybody needs the gradient of the input.</param>
    public SparsePooledBackward(ArenaPlan arena, PooledConvolution convolution, bool needsData)
    {
        _convolution = convolution;
        _windowsPerSample = convolution.Pooled.Pixels;
        _windowsPerGroup = (int)Math.Clamp((long)GroupFloats * _windowsPerSample / convolution.Source.SampleStride, FewestWindows, LiveGradients.WordLength);
        int windows = arena.PassSamples * _windowsPerSample, maskWords = LiveGradients.MaskWords(convolution.FilterStride);
        _filterWords = maskWords / 4 * LiveGradients.WordLength;
        _masks = arena.Reserve(checked(windows * maskWords * FloatsPerWord));
        _byFilter = arena.Reserve(checked((windows + _windowsPerGroup - 1) / _windowsPerGroup * _filterWords * FloatsPerWord));
        int group = checked(convolution.FilterStride * LiveGradients.WordLength);
        // The kernel reads a place behind the last.
        (_places, _placesByFilter, _gradientByFilter) = (arena.Reserve(group), arena.Reserve(group + 1), arena.Reserve(group));
        int weights = checked(convolution.Parameters.Taps * convolution.Source.ChannelStride * convolution.Parameters.Filters);
        _weightGradient = arena.Reserve(weights);
        if (needsData)
            _blocks = new NativeBuffer(weights);
    }

    /// <summary>Packs the weights (3,3,C,F) into blocks of channels, (block, F, 3, 3, channels).</summary>
    public void Prepare(float* kernel)
    {
        if (_blocks is null)
            return;
        nint filters = _convolution.Parameters.Filters;
        int width = TLanes.Count, filterWeights = _convolution.Parameters.Taps * width;
        for (int channel = 0; channel < _convolution.Parameters.Channels; channel += width)
        {
            int count = Math.Min(width, _convolution.Parameters.Channels - channel);
            float* block = _blocks.Pointer + (channel * filters * _convolution.Parameters.Taps);
            for (nint tap = 0; tap < _convolution.Parameters.Taps; tap++)
            {
                float* source = kernel + (((tap * _convolution.Parameters.Channels) + channel) * filters);
                Transposition.Run(source, filters, count, _convolution.Parameters.Filters, block + (tap * width), filterWeights);
            }
        }
    }

    /// <summary>Marks what lives in a microbatch.</summary>
    public void Mark(in Pass pass)
    {
        int windows = pass.Samples * _windowsPerSample, filterStride = _convolution.FilterStride;
        for (int first = 0, group = 0; first < windows; first += _windowsPerGroup, group++)
        {
            LiveGradients.Mark(
                _convolution.WinnersAt(pass) + ((nint)first * filterStride), Math.Min(_windowsPerGroup, windows - first), filterStride,
                Masks(pass) + ((nint)first * LiveGradients.MaskWords(filterStride)), ByFilter(pass, group));
        }
    }

    /// <summary>Writes dw (3,3,C,F), unpadded.</summary>
    public void WeightGradient(in Pass pass, float* gradient, float* weights)
    {
        Plane source = _convolution.Source;
        ConvolutionParameters sizes = _convolution.Parameters;
        nint filterLength = sizes.Taps * source.ChannelStride;
        int windows = pass.Samples * _windowsPerSample;
        SparseWeightGradient kernel = new()
        {
            Input = pass.At(source),
            RowStride = source.RowStride,
            ChannelStride = source.ChannelStride,
            Places = (int*)pass.At(_placesByFilter),
            Gradient = pass.At(_gradientByFilter),
        };
        for (int first = 0, group = 0; first < windows; first += _windowsPerGroup, group++)
        {
            OrderByFilter(pass, gradient, first, Math.Min(_windowsPerGroup, windows - first));
            kernel.Add<TLanes>(new(ByFilter(pass, group), sizes.Filters), pass.At(_weightGradient), isFirst: first == 0);
        }

        for (nint tap = 0; tap < sizes.Taps; tap++)
        {
            Transposition.Run(
                pass.At(_weightGradient) + (tap * source.ChannelStride), filterLength, sizes.Filters, sizes.Channels,
                weights + (tap * sizes.Channels * sizes.Filters), sizes.Filters);
        }
    }

    /// <summary>Writes dx, which has the source's layout.</summary>
    public void DataGradient(in Pass pass, float* gradient, float* inputGradient)
    {
        SparseDataGradient kernel = new()
        {
            Samples = pass.Samples,
            WindowRows = _convolution.Pooled.Shape.Height,
            WindowColumns = _convolution.Pooled.Shape.Width,
            Gradient = gradient,
            Masks = Masks(pass),
            Filters = _convolution.Parameters.Filters,
            FilterStride = _convolution.FilterStride,
            Weights = _blocks!.Pointer,
            SampleStride = _convolution.Source.SampleStride,
            RowStride = _convolution.Source.RowStride,
            ChannelStride = _convolution.Source.ChannelStride,
        };
        kernel.Write<TLanes>(inputGradient);
    }

    public void Dispose() => _blocks?.Dispose();

    /// <summary>Gradients and places of some windows in the order of use, a row for each filter: the windows' own rows would take a third of the first cache.</summary>
    private void OrderByFilter(in Pass pass, float* gradient, int first, int windows)
    {
        Plane source = _convolution.Source;
        int filterStride = _convolution.FilterStride;
        nint rows = (nint)first * filterStride;
        WindowMaximum.Locate<TLanes>(
            _convolution.WinnersAt(pass) + rows, filterStride, _convolution.Windows.AsSpan(first, windows), source.RowStride, source.ChannelStride,
            (int*)pass.At(_places));
        Transposition.Run(pass.At(_places), filterStride, windows, filterStride, pass.At(_placesByFilter), LiveGradients.WordLength);
        Transposition.Run(gradient + rows, filterStride, windows, filterStride, pass.At(_gradientByFilter), LiveGradients.WordLength);
    }

    private ulong* Masks(in Pass pass) => (ulong*)pass.At(_masks);

    private ulong* ByFilter(in Pass pass, int group) => (ulong*)pass.At(_byFilter) + ((nint)group * _filterWords);
}
