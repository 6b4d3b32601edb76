using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

public sealed class PartialPoolTests
{
    [Fact]
    public void Rent_AfterReturn_LendsTheLastOneAgain()
    {
        PartialPool pool = new(4);
        Partial first = pool.Rent(), second = pool.Rent();
        pool.Return(second);
        pool.Return(first);
        Assert.Same(first, pool.Rent());
        Assert.Same(second, pool.Rent());
        Assert.NotSame(first, pool.Rent());
    }

    /// <summary>What another core has written takes longer to write to than what this one has.</summary>
    [Fact]
    public void Rent_OnTwoThreads_LendsEachItsOwnFirst()
    {
        PartialPool pool = new(4);
        Partial own = pool.Rent();
        Partial others = OtherThread.Run(pool.Rent);
        pool.Return(own);
        pool.Return(others);
        Assert.Same(own, pool.Rent());
        // Rather than none.
        Assert.Same(others, pool.Rent());
    }
}
