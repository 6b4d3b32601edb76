using System.Buffers;

namespace Distributed.Reduction;

/// <summary>
/// Memory for vectors that are read from the network: each exactly as long as asked for, and fit to be calculated with. Those
/// of the lengths that a run has, P parameters and what it is cut into, are kept and lent again, as many as a run in order
/// needs; what a peer gets out beyond that is garbage when it comes back. Thread-safe.
/// </summary>
public sealed class VectorPool
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, Shelf> _shelves = [];

    /// <summary>From now on vectors of this length, in float32 values, are kept; those of lengths never named live but once.</summary>
    /// <param name="most">So many that are not lent, beside those asked for before.</param>
    public void Keep(int length, int most)
    {
        lock (_lock)
        {
            _shelves.TryAdd(length, new Shelf());
            _shelves[length].Most += most;
        }
    }

    /// <summary>The same for the chunks of vectors.</summary>
    /// <param name="chunks">Null: there are none.</param>
    /// <param name="most">So many vectors' that are not lent.</param>
    public void Keep(VectorChunks? chunks, int most)
    {
        for (int chunk = 0; chunk < chunks?.Count; chunk++)
            Keep(chunks[chunk].End - chunks[chunk].First, most);
    }

    /// <param name="bytes">How many. What is no multiple of 4 is memory that is not for calculating.</param>
    public IMemoryOwner<byte> Rent(int bytes)
    {
        if (bytes % sizeof(float) != 0)
            return new Unfit(bytes);
        int length = bytes / sizeof(float);
        lock (_lock)
        {
            if (_shelves.TryGetValue(length, out Shelf? shelf) && shelf.Free.TryPop(out PooledVector? vector))
                return vector;
        }

        return new PooledVector(this, new VectorBuffer(length));
    }

    internal void Return(PooledVector vector)
    {
        lock (_lock)
        {
            if (_shelves.TryGetValue(vector.Buffer.Length, out Shelf? shelf) && shelf.Free.Count < shelf.Most)
                shelf.Free.Push(vector);
        }
    }

    private sealed class Shelf
    {
        public Stack<PooledVector> Free { get; } = new();

        public int Most { get; set; }
    }

    private sealed record Unfit(int Bytes) : IMemoryOwner<byte>
    {
        public Memory<byte> Memory { get; } = new byte[Bytes];

        public void Dispose()
        {
        }
    }
}

/// <summary>A vector lent by a pool.</summary>
public sealed class PooledVector : IMemoryOwner<byte>
{
    private readonly VectorPool _pool;

    internal PooledVector(VectorPool pool, VectorBuffer buffer)
    {
        _pool = pool;
        Buffer = buffer;
    }

    public Memory<byte> Memory => Buffer.WritableBytes;

    internal VectorBuffer Buffer { get; private set; }

    /// <summary>Takes the values without a copy: the pool gets the partial's memory in exchange.</summary>
    /// <param name="partial">Of the same length.</param>
    public void ExchangeWith(Partial partial)
    {
        if (partial.Gradient.Length != Buffer.Length)
            throw new ArgumentException($"a vector of {Buffer.Length} values is no gradient of {partial.Gradient.Length}", nameof(partial));
        (Buffer, partial.Gradient) = (partial.Gradient, Buffer);
    }

    /// <summary>Gives it back. Once.</summary>
    public void Dispose() => _pool.Return(this);
}
