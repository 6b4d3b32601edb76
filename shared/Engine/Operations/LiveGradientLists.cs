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
    /// <summary>What of the input is summed over at a time: it stays in a first cache of 48 KB, and mostly in one of 32.</summary>
    private const int GroupFloats = 10 * 1024;

    private const int FloatsPerGradient = 2;

    private readonly Plane _source;
    private readonly int[] _windows;
    private readonly ConvolutionParameters _parameters;
    private readonly int _windowsPerSample, _samplesPerGroup, _filterStride, _filterCapacity, _block;
    private readonly int _byFilter, _filterCounts, _byWindow, _positionEnds, _weightGradient;
    private readonly NativeBuffer? _blocks;

    /// <param name="source">The convolution's input, border included; its gradient has the same layout.</param>
    /// <param name="windows">For each window of a microbatch its place in the source.</param>
    /// <param name="needsData">Whether anybody needs the gradient of the input.</param>
    public LiveGradientLists(ArenaPlan arena, Plane source, int[] windows, Plane pooled, ConvolutionParameters parameters, bool needsData)
    {
        (_source, _windows, _parameters) = (source, windows, parameters);
        _windowsPerSample = pooled.Pixels;
        _samplesPerGroup = Math.Clamp(GroupFloats / source.SampleStride, 1, arena.Microbatch);
        _filterStride = pooled.ChannelStride;
        _filterCapacity = arena.Microbatch * _windowsPerSample;
        int groups = (arena.Microbatch + _samplesPerGroup - 1) / _samplesPerGroup;
        int gradients = checked(parameters.Filters * _filterCapacity * FloatsPerGradient);
        _byFilter = arena.Reserve(gradients);
        _filterCounts = arena.Reserve(checked((groups + 1) * parameters.Filters));
        _positionEnds = arena.Reserve(checked(4 * _filterCapacity));
        _weightGradient = arena.Reserve(checked(parameters.Filters * parameters.Taps * source.ChannelStride));
        if (!needsData)
            return;
        _byWindow = arena.Reserve(gradients);
        _block = SparseDataGradient.BlockChannels<TLanes>(source.ChannelStride);
        _blocks = new NativeBuffer(checked(parameters.Taps * parameters.Filters * source.ChannelStride));
    }

    private int FilterWeights => _parameters.Taps * _block;

    /// <summary>Packs the weights (3,3,C,F) into blocks of channels, (block, F, 3, 3, channels).</summary>
    public void Prepare(float* kernel)
    {
        if (_blocks is null)
            return;
        nint filters = _parameters.Filters;
        for (int channel = 0; channel < _parameters.Channels; channel += _block)
        {
            int count = Math.Min(_block, _parameters.Channels - channel);
            float* block = _blocks.Pointer + (channel * filters * _parameters.Taps);
            for (nint tap = 0; tap < _parameters.Taps; tap++)
            {
                float* source = kernel + (((tap * _parameters.Channels) + channel) * filters);
                Transposition.Run(source, filters, count, _parameters.Filters, block + (tap * _block), FilterWeights);
            }
        }
    }

    /// <summary>Lists a microbatch's gradients.</summary>
    public void Collect(in Pass pass, float* winners, float* gradient)
    {
        int* counts = FilterCounts(pass, 0);
        new Span<int>(counts, _parameters.Filters).Clear();
        LiveGradients lists = new()
        {
            ByFilter = Gradients(pass, _byFilter),
            FilterCapacity = _filterCapacity,
            FilterCounts = counts,
            ByWindow = _blocks is null ? null : Gradients(pass, _byWindow),
            PositionEnds = (int*)pass.At(_positionEnds),
            FilterWeights = FilterWeights,
            Filters = _parameters.Filters,
            FilterStride = _filterStride,
        };
        Span<int> places = stackalloc int[4];
        int windows = pass.Samples * _windowsPerSample, windowsPerGroup = _samplesPerGroup * _windowsPerSample;
        for (int window = 0; window < windows; window++)
        {
            int place = _windows[window];
            places[0] = place;
            places[1] = place + _source.ChannelStride;
            places[2] = place + _source.RowStride;
            places[3] = place + _source.RowStride + _source.ChannelStride;
            lists.Add<TLanes>(window, winners + ((nint)window * _filterStride), gradient + ((nint)window * _filterStride), places);
            if ((window + 1) % windowsPerGroup == 0 || window + 1 == windows)
                new Span<int>(counts, _parameters.Filters).CopyTo(new Span<int>(FilterCounts(pass, 1 + (window / windowsPerGroup)), _parameters.Filters));
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
                int start = group == 0 ? 0 : FilterCounts(pass, group)[filter];
                int end = FilterCounts(pass, group + 1)[filter];
                ReadOnlySpan<LiveGradient> gradients = new(Gradients(pass, _byFilter) + (filter * _filterCapacity) + start, end - start);
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

    /// <summary>Adds to dx, which has the source's layout, from the lists.</summary>
    public void DataGradient(in Pass pass, float* inputGradient) =>
        SparseDataGradient.Add<TLanes>(
            _windows.AsSpan(0, pass.Samples * _windowsPerSample), Gradients(pass, _byWindow), (int*)pass.At(_positionEnds), _blocks!.Pointer,
            _parameters.Filters * FilterWeights, inputGradient, _source.RowStride, _source.ChannelStride);

    public void Dispose() => _blocks?.Dispose();

    private static LiveGradient* Gradients(in Pass pass, int offset) => (LiveGradient*)pass.At(offset);

    /// <summary>Each filter's count after so many groups; row 0 is the running one.</summary>
    private int* FilterCounts(in Pass pass, int groups) => (int*)pass.At(_filterCounts) + ((nint)groups * _parameters.Filters);
}
