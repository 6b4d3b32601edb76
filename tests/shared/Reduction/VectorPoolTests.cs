using System.Buffers;
using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

/// <summary>What is lent again, and what is left to the garbage collector.</summary>
public sealed class VectorPoolTests
{
    private const int Length = 16;
    private const int Bytes = Length * sizeof(float);

    private readonly VectorPool _pool = new();

    [Fact]
    public void Vectors_OfTheKeptLength_AreLentAgain()
    {
        _pool.Keep(Length, most: 3);
        IMemoryOwner<byte>[] lent = Lend(3);
        Assert.Equal(lent.ToHashSet(), Lend(3).ToHashSet());
    }

    [Fact]
    public void Vectors_BeyondWhatIsToBeKept_AreNot()
    {
        _pool.Keep(Length, most: 3);
        IMemoryOwner<byte>[] lent = Lend(10);
        Assert.Equal(3, Lend(10).Intersect(lent).Count());
    }

    [Fact]
    public void Vectors_OfOtherLengths_AreNot()
    {
        _pool.Keep(Length + 1, most: 3);
        IMemoryOwner<byte>[] lent = Lend(3);
        Assert.Empty(Lend(3).Intersect(lent));
    }

    [Fact]
    public void Chunks_OfAsManyVectors_AreKeptBesideWholeOnes()
    {
        // Two of this length and a shorter one.
        VectorChunks chunks = new((2 * Length) + 3, Length);
        _pool.Keep(2 * Length, most: 1);
        _pool.Keep(chunks, most: 4);
        IMemoryOwner<byte>[] lent = Lend(20);
        Assert.Equal(8, Lend(20).Intersect(lent).Count());
    }

    /// <summary>So many at a time, all given back.</summary>
    private IMemoryOwner<byte>[] Lend(int count)
    {
        IMemoryOwner<byte>[] lent = [.. Enumerable.Range(0, count).Select(_ => _pool.Rent(Bytes))];
        foreach (IMemoryOwner<byte> vector in lent)
            vector.Dispose();
        return lent;
    }
}
