using Distributed.Engine.Kernels;
using Distributed.Models;

namespace Distributed.Engine.Operations;

/// <summary>
/// The backward half of a convolution under a max pool, by lists of the gradients that passed the pool: their memory, and
/// the two kernels that run over them.
/// </summary>
internal sealed unsafe class LiveGradientLists<TLanes> : IDisposable
    where TLanes : unmanaged, ILanes<TLanes>
{
    /// <summary>What of the input is summed over at a time: it stays in a first cache of 48 KB, and in the second where that is smaller.</summary>
    private const int GroupFloats = 11 * 1024;

    /// <summary>Of a gradient in a list, and of a word of a mask.</summary>
    private const int FloatsPerEntry = 2;

    private readonly Plane _source;
    private readonly int[] _windows;
    private readonly ConvolutionParameters _parameters;
    private readonly int _windowsPerSample, _samplesPerGroup, _filterStride, _filterCapacity;
    private readonly int _byFilter, _filterEnds, _masks, _weightGradient;
    private readonly NativeBuffer? _blocks;

    /// <param name="convolution">Its source's gradient has the source's layout.</param>
    /// <param name="needsData">Whether anybody needs the gradient of the input.</param>
    public LiveGradientLists(ArenaPlan arena, PooledConvolution convolution, bool needsData)
    {
        (Plane source, Plane pooled, ConvolutionParameters parameters) = (convolution.Source, convolution.Pooled, convolution.Parameters);
        (_source, _windows, _parameters) = (source, convolution.Windows, parameters);
        _windowsPerSample = pooled.Pixels;
        _samplesPerGroup = Math.Clamp(GroupFloats / source.SampleStride, 1, arena.Microbatch);
        _filterStride = pooled.ChannelStride;
        _filterCapacity = arena.Microbatch * _windowsPerSample;
        int groups = (arena.Microbatch + _samplesPerGroup - 1) / _samplesPerGroup;
        _byFilter = arena.Reserve(checked(_filterStride * _filterCapacity * FloatsPerEntry));
        _filterEnds = arena.Reserve(checked((groups + 1) * _filterStride));
        _masks = arena.Reserve(checked(_filterCapacity * LiveGradients.MaskWords(_filterStride) * FloatsPerEntry));
        _weightGradient = arena.Reserve(checked(parameters.Filters * parameters.Taps * source.ChannelStride));
        if (needsData)
            _blocks = new NativeBuffer(checked(parameters.Taps * parameters.Filters * source.ChannelStride));
    }

    /// <summary>Packs the weights (3,3,C,F) into blocks of channels, (block, F, 3, 3, channels).</summary>
    public void Prepare(float* kernel)
    {
        if (_blocks is null)
            return;
        nint filters = _parameters.Filters;
        int width = TLanes.Count, filterWeights = _parameters.Taps * width;
        for (int channel = 0; channel < _parameters.Channels; channel += width)
        {
            int count = Math.Min(width, _parameters.Channels - channel);
            float* block = _blocks.Pointer + (channel * filters * _parameters.Taps);
            for (nint tap = 0; tap < _parameters.Taps; tap++)
            {
                float* source = kernel + (((tap * _parameters.Channels) + channel) * filters);
                Transposition.Run(source, filters, count, _parameters.Filters, block + (tap * width), filterWeights);
            }
        }
    }

    /// <summary>Lists a microbatch's gradients.</summary>
    public void Collect(in Pass pass, byte* winners, float* gradient)
    {
        for (int filter = 0; filter < _filterStride; filter++)
            FilterEnds(pass, 0)[filter] = filter * _filterCapacity;
        int windows = pass.Samples * _windowsPerSample, windowsPerGroup = _samplesPerGroup * _windowsPerSample;
        for (int group = 0, first = 0; first < windows; group++, first += windowsPerGroup)
        {
            int* ends = FilterEnds(pass, group + 1);
            new Span<int>(FilterEnds(pass, group), _filterStride).CopyTo(new Span<int>(ends, _filterStride));
            LiveGradients lists = new()
            {
                ByFilter = Gradients(pass),
                FilterEnds = ends,
                FilterStride = _filterStride,
                RowStride = _source.RowStride,
                ChannelStride = _source.ChannelStride,
            };
            nint place = (nint)first * _filterStride;
            lists.Add(
                _windows.AsSpan(first, Math.Min(windowsPerGroup, windows - first)), winners + place, gradient + place,
                Masks(pass) + ((nint)first * LiveGradients.MaskWords(_filterStride)));
        }
    }

    /// <summary>Writes dw (3,3,C,F), unpadded, from the lists.</summary>
    public void WeightGradient(in Pass pass, float* weights)
    {
        nint filterLength = _parameters.Taps * _source.ChannelStride;
        int groups = (pass.Samples + _samplesPerGroup - 1) / _samplesPerGroup;
        for (int group = 0; group < groups; group++)
        {
            for (nint filter = 0; filter < _parameters.Filters; filter++)
            {
                int start = FilterEnds(pass, group)[filter], end = FilterEnds(pass, group + 1)[filter];
                ReadOnlySpan<LiveGradient> gradients = new(Gradients(pass) + start, end - start);
                SparseWeightGradient.Add<TLanes>(
                    pass.At(_source), _source.RowStride, _source.ChannelStride, gradients, pass.At(_weightGradient) + (filter * filterLength), group == 0);
            }
        }

        for (nint tap = 0; tap < _parameters.Taps; tap++)
        {
            Transposition.Run(
                pass.At(_weightGradient) + (tap * _source.ChannelStride), filterLength, _parameters.Filters, _parameters.Channels,
                weights + (tap * _parameters.Channels * _parameters.Filters), _parameters.Filters);
        }
    }

    /// <summary>Adds to dx, which has the source's layout, from the masks.</summary>
    public void DataGradient(in Pass pass, float* gradient, float* inputGradient)
    {
        SparseDataGradient kernel = new()
        {
            Windows = _windows.AsSpan(0, pass.Samples * _windowsPerSample),
            Gradient = gradient,
            Masks = Masks(pass),
            Filters = _parameters.Filters,
            FilterStride = _filterStride,
            Weights = _blocks!.Pointer,
            RowStride = _source.RowStride,
            ChannelStride = _source.ChannelStride,
        };
        kernel.Add<TLanes>(inputGradient);
    }

    public void Dispose() => _blocks?.Dispose();

    private LiveGradient* Gradients(in Pass pass) => (LiveGradient*)pass.At(_byFilter);

    private ulong* Masks(in Pass pass) => (ulong*)pass.At(_masks);

    /// <summary>Where each filter's list ends after so many groups; row 0 is where it begins.</summary>
    private int* FilterEnds(in Pass pass, int groups) => (int*)pass.At(_filterEnds) + ((nint)groups * _filterStride);
}
