namespace Distributed.Reduction;

/// <summary>
/// Cuts vectors of P values into chunks that travel one by one, the last values first: gradients of late layers are the
/// first to be complete. How a vector is cut changes no bit of it.
/// </summary>
public sealed class VectorChunks
{
    // A cache line, so that kernels take each chunk's memory as well as the whole's.
    private const int Multiple = 16;

    /// <param name="length">P.</param>
    /// <param name="size"><see cref="Size"/>, at least; it is rounded up to whole cache lines.</param>
    public VectorChunks(int length, int size)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(length, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(size, 1);
        Length = length;
        Size = (int)Math.Min(int.MaxValue - Multiple, (size + (long)Multiple - 1) / Multiple * Multiple);
        Count = (int)(((long)length + Size - 1) / Size);
    }

    /// <summary>P.</summary>
    public int Length { get; }

    /// <summary>Values in each chunk but the first, which may have fewer.</summary>
    public int Size { get; }

    /// <summary>How many chunks make a vector.</summary>
    public int Count { get; }

    /// <summary>The values [first, end) of a chunk.</summary>
    /// <param name="chunk">From 0, in the order of travel.</param>
    public (int First, int End) this[int chunk]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfNegative(chunk);
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(chunk, Count);
            int first = (Count - 1 - chunk) * Size;
            return (first, (int)Math.Min(Length, (long)first + Size));
        }
    }

    /// <summary>How many chunks lie wholly within the values from <paramref name="first"/> to the last.</summary>
    public int CountFrom(int first) => Count - (int)((first + (long)Size - 1) / Size);

    /// <summary>A chunk's bytes of a whole vector's.</summary>
    public ReadOnlyMemory<byte> Of(VectorBuffer vector, int chunk)
    {
        (int first, int end) = this[chunk];
        return vector.Bytes[(first * sizeof(float))..(end * sizeof(float))];
    }
}
