using Distributed.Reduction;

namespace Distributed.Engine;

/// <summary>A microbatch of a wave.</summary>
/// <param name="Samples">1 to <see cref="Network.Microbatch"/>.</param>
/// <param name="Additions">
/// How many additions follow it, each of which makes one of the last two gradients that are not added yet: 0 for a left leaf of the
/// reduction tree, 1 for a right one, 2 where their parent is a right child itself, and so on.
/// </param>
public readonly record struct Microbatch(int Samples, int Additions);

/// <summary>The sum of the gradients of some neighbouring microbatches of a wave: a node of the reduction tree.</summary>
/// <param name="Microbatches">How many, at least 1; their additions leave one gradient.</param>
/// <param name="Gradient">Receives P gradients, summed over their samples.</param>
/// <param name="Observer">Told of each layer's gradient as it is complete, the last layer's first, and with it the sum's result.</param>
public readonly record struct GradientSum(int Microbatches, VectorBuffer Gradient, IBackwardObserver? Observer = null);

/// <summary>
/// Adds up the gradients of a wave's microbatches, operation by operation: what is added has just been written and is in the core's own
/// caches, and whole vectors are written for the sums alone. The additions are the reduction tree's, so the bits are those of adding
/// whole vectors along it.
/// </summary>
internal sealed unsafe class WaveSums : IDisposable
{
    // Parameters of each operation; both 0 where it has none.
    private readonly int[] _firsts, _ends;

    /// <summary>Parameters of the operations that take microbatches one by one.</summary>
    private readonly int _frontParameters;

    /// <summary>
    /// Gradients that wait for being added, by how many wait in front of them and their sum's own vector; those of the first operations
    /// where they belong, and behind them those of one of the others, which need no longer wait when the next one's turn comes.
    /// </summary>
    private readonly NativeBuffer[] _waiting;

    // For each microbatch which sum it is part of, how many gradients wait in front of its own, how many additions follow it, and
    // whether its sum is complete then.
    private readonly int[] _sums, _depths, _additions;
    private readonly bool[] _isLast;

    // For each sum.
    private readonly float*[] _gradients;
    private readonly MicrobatchResult[] _results;

    private readonly MicrobatchResult[] _waitingResults;
    private WirePrecision _precision;

    public WaveSums(CompiledNetwork network, int parameters)
    {
        Operation[] operations = network.Operations;
        (_firsts, _ends) = (new int[operations.Length], new int[operations.Length]);
        int end = _frontParameters = parameters, largest = 0;
        for (int i = operations.Length - 1; i >= 0; i--)
        {
            if (operations[i].FirstParameter is not { } first)
                continue;
            (_firsts[i], _ends[i]) = (first, end);
            if (i >= network.FirstOfWholeWaves)
                (_frontParameters, largest) = (first, Math.Max(largest, end - first));
            end = first;
        }

        int most = network.WaveMicrobatches;
        _waiting = [.. Enumerable.Range(1, most - 1).Select(_ => new NativeBuffer(checked(_frontParameters + largest)))];
        (_sums, _depths, _additions, _isLast) = (new int[most], new int[most], new int[most], new bool[most]);
        (_gradients, _results, _waitingResults) = (new float*[most], new MicrobatchResult[most], new MicrobatchResult[most]);
    }

    /// <summary>Begins a wave.</summary>
    /// <param name="precision">What the gradients of all that is added, and of the sums, are rounded to.</param>
    /// <exception cref="ArgumentException">The additions do not make the sums.</exception>
    public void Begin(ReadOnlySpan<Microbatch> wave, ReadOnlySpan<GradientSum> sums, WirePrecision precision)
    {
        _precision = precision;
        int next = 0;
        for (int sum = 0; sum < sums.Length; sum++)
        {
            int depth = 0, end = (int)Math.Min((long)next + sums[sum].Microbatches, wave.Length);
            for (; next < end; next++)
            {
                (_sums[next], _depths[next], _additions[next], _isLast[next]) = (sum, depth, wave[next].Additions, next + 1 == end);
                if (wave[next].Additions < 0 || wave[next].Additions > depth)
                    throw new ArgumentException($"microbatch {next} of the wave cannot be added {wave[next].Additions} times to {depth}", nameof(wave));
                depth += 1 - wave[next].Additions;
            }

            if (depth != 1)
                throw new ArgumentException($"sum {sum} of the wave leaves {depth} gradients, not one", nameof(sums));
        }

        if (next != wave.Length)
            throw new ArgumentException($"the wave has {wave.Length} microbatches, and sums of {next}", nameof(sums));
    }

    /// <summary>Where a sum's P gradients go; the memory stays where it is until the wave is done.</summary>
    public void Place(int sum, float* gradient) => _gradients[sum] = gradient;

    /// <summary>Takes a microbatch's result, in order.</summary>
    public void Take(int microbatch, MicrobatchResult result)
    {
        int depth = _depths[microbatch];
        for (int i = 0; i < _additions[microbatch]; i++)
            result = _waitingResults[--depth] + result;
        _waitingResults[depth] = result;
        if (_isLast[microbatch])
            _results[_sums[microbatch]] = result;
    }

    /// <summary>Where an operation is to write a microbatch's gradient: its own are at their places in P.</summary>
    public float* Gradient(int operation, int microbatch) =>
        Waiting(operation, _sums[microbatch], _depths[microbatch]) - _firsts[operation];

    /// <summary>An operation has written a microbatch's gradient: makes the additions that follow.</summary>
    /// <param name="sum">Which sum it is part of.</param>
    /// <param name="result">That sum's.</param>
    /// <returns>Whether the operation's gradient is complete in that sum.</returns>
    public bool Add(int operation, int microbatch, out int sum, out MicrobatchResult result)
    {
        sum = _sums[microbatch];
        result = _results[sum];
        int depth = _depths[microbatch], length = _ends[operation] - _firsts[operation];
        for (int i = 0; i < _additions[microbatch]; i++, depth--)
            PartialSum.Add(new(Waiting(operation, sum, depth - 1), length), new(Waiting(operation, sum, depth), length), _precision);
        return _isLast[microbatch];
    }

    /// <summary>A sum's result, when all of its microbatches' have been taken.</summary>
    public MicrobatchResult Result(int sum) => _results[sum];

    public void Dispose()
    {
        foreach (NativeBuffer waiting in _waiting)
            waiting.Dispose();
    }

    /// <summary>An operation's gradients that wait in a sum.</summary>
    /// <param name="depth">How many wait in front of them.</param>
    private float* Waiting(int operation, int sum, int depth) =>
        depth == 0 ? _gradients[sum] + _firsts[operation] : _waiting[depth - 1].Pointer + Math.Min(_firsts[operation], _frontParameters);
}
