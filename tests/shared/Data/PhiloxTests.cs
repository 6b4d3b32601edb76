using Distributed.Data;

namespace Distributed.Tests.Data;

public sealed class PhiloxTests
{
    /// <summary>The known answers of the Random123 distribution, philox4x32-10.</summary>
    [Theory]
    [InlineData(0u, 0u, 0u, 0u, 0u, 0u, 0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u)]
    [InlineData(~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu)]
    [InlineData(0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u, 0xa4093822u, 0x299f31d0u, 0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u)]
    public void Block_ForKnownInputs_GivesKnownAnswers(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1, uint r0, uint r1, uint r2, uint r3) =>
        Assert.Equal((r0, r1, r2, r3), Philox.Block(c0, c1, c2, c3, k0, k1));

    [Fact]
    public void Stream_ForEachPurposeAndCoordinate_Differs()
    {
        HashSet<uint> firsts = [];
        foreach (RandomPurpose purpose in Enum.GetValues<RandomPurpose>())
        {
            for (uint a = 0; a < 10; a++)
            {
                for (uint b = 0; b < 10; b++)
                    firsts.Add(new Philox(1, purpose, a, b).NextUInt32());
            }
        }

        Assert.Equal(300, firsts.Count);
    }

    [Fact]
    public void NextSingle_Always_IsInUnitIntervalWithMeanOneHalf()
    {
        Philox random = new(7, RandomPurpose.Dropout, 0, 0);
        double sum = 0;
        for (int i = 0; i < 100_000; i++)
        {
            float value = random.NextSingle();
            Assert.InRange(value, 0f, 1f - (1f / (1 << 24)));
            sum += value;
        }

        // Five standard deviations of the mean of a uniform distribution.
        Assert.InRange(sum / 100_000, 0.5 - 0.0046, 0.5 + 0.0046);
    }

    [Fact]
    public void NextBelow_Always_IsBelowBoundAndEven()
    {
        Philox random = new(7, RandomPurpose.Shuffle, 0, 0);
        int[] counts = new int[7];
        for (int i = 0; i < 70_000; i++)
            counts[random.NextBelow(7)]++;
        // Six standard deviations of a binomial count.
        Assert.All(counts, static count => Assert.InRange(count, 10_000 - 556, 10_000 + 556));
        Assert.Throws<ArgumentOutOfRangeException>(() => random.NextBelow(0));
    }
}
