using System.Buffers;

namespace Distributed.Reduction;

/// <summary>
/// Memory for vectors that are read from the network: each exactly as long as asked for, and fit to be calculated with. Those
/// of the lengths that a run has, P parameters and what it is cut into, are kept and lent again. Thread-safe.
/// </summary>
public sealed class VectorPool
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, Stack<PooledVector>> _free = [];

    /// <summary>From now on vectors of this length, in float32 values, are kept; those of lengths never named live but once.</summary>
    public void Keep(int length)
    {
        lock (_lock)
            _free.TryAdd(length, new Stack<PooledVector>());
    }

    /// <summary>The same for the chunks of vectors.</summary>
    /// <param name="chunks">Null: there are none.</param>
    public void Keep(VectorChunks? chunks)
    {
        for (int chunk = 0; chunk < chunks?.Count; chunk++)
            Keep(chunks[chunk].End - chunks[chunk].First);
    }

    /// <param name="bytes">How many. What is no multiple of 4 is memory that is not for calculating.</param>
    public IMemoryOwner<byte> Rent(int bytes)
    {
        if (bytes % sizeof(float) != 0)
            return new Unfit(bytes);
        int length = bytes / sizeof(float);
        lock (_lock)
        {
            if (_free.TryGetValue(length, out Stack<PooledVector>? free) && free.TryPop(out PooledVector? vector))
                return vector;
        }

        return new PooledVector(this, new VectorBuffer(length));
    }

    internal void Return(PooledVector vector)
    {
        lock (_lock)
        {
            if (_free.TryGetValue(vector.Buffer.Length, out Stack<PooledVector>? free))
                free.Push(vector);
        }
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
