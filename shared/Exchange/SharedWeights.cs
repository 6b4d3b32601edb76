using Distributed.Reduction;

namespace Distributed.Exchange;

/// <summary>The weights, written once by the coordinator and read in place by every worker of its host.</summary>
public sealed class SharedWeights : IDisposable
{
    private readonly SharedSegment _segment;

    private SharedWeights(SharedSegment segment, int parameters)
    {
        _segment = segment;
        Values = new VectorBuffer(new SegmentMemory(segment, 0, parameters * sizeof(float)));
    }

    public string Name => _segment.Name;

    /// <summary>P parameters.</summary>
    public VectorBuffer Values { get; }

    /// <inheritdoc cref="SharedSegment.Create" path="/exception"/>
    public static SharedWeights Create(string folder, int parameters) =>
        new(SharedSegment.Create(folder, (long)parameters * sizeof(float)), parameters);

    /// <inheritdoc cref="SharedSegment.Open" path="/exception"/>
    public static SharedWeights Open(string folder, string name, int parameters)
    {
        SharedSegment segment = SharedSegment.Open(folder, name);
        if (segment.Size == (long)parameters * sizeof(float))
            return new SharedWeights(segment, parameters);
        segment.Dispose();
        throw new IOException($"{name} does not hold {parameters} weights");
    }

    /// <summary>The coordinator's: takes the name away, but leaves the memory to whoever still uses it.</summary>
    public void Unlink() => _segment.Unlink();

    public void Dispose() => _segment.Dispose();
}
