using Distributed.Engine;
using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

/// <summary>Rounding to bfloat16, against its definition, at every width.</summary>
public sealed unsafe class Bfloat16Tests
{
    // Below, at and above the middle between two neighbours, and at both ends.
    private static readonly uint[] s_lowerHalves = [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];

    private static readonly float[] s_all =
    [
        .. from upper in Enumerable.Range(0, 1 << 16)
           from lower in s_lowerHalves
           select BitConverter.UInt32BitsToSingle(((uint)upper << 16) | lower),
    ];

    [Fact]
    public void Round_AnyValue_GivesTheNearestAtEveryWidth()
    {
        uint[] expected = [.. s_all.Select(Reference)];
        Assert.Equal(expected, Round<ScalarLane>(s_all));
        Assert.Equal(expected, Round<Lanes128>(s_all));
        Assert.Equal(expected, Round<Lanes256>(s_all));
        Assert.Equal(expected, Round<Lanes512>(s_all));
        Assert.Equal(expected, Round<Pair<Lanes256>>(s_all));
        Assert.Equal(expected, Round<Quad<Lanes128>>(s_all));
    }

    [Fact]
    public void Round_AroundTheVectorEdge_RoundsEachValueAndNoOther()
    {
        for (int length = 0; length <= 70; length++)
        {
            float[] source = s_all[200_001..(200_001 + length)], inPlace = [.. source, 0.1f], elsewhere = new float[length + 1];
            uint[] expected = [.. source.Select(Reference)];
            Bfloat16.Round(inPlace.AsSpan(0, length));
            Bfloat16.Round(source, elsewhere.AsSpan(0, length));
            Assert.Equal([.. expected, Bits(0.1f)], inPlace.Select(Bits));
            Assert.Equal([.. expected, 0u], elsewhere.Select(Bits));
            Assert.Equal(-1, Bfloat16.FindOther(inPlace.AsSpan(0, length)));
            Assert.Equal(length, Bfloat16.FindOther(inPlace));
        }

        Assert.Throws<ArgumentException>(static () => Bfloat16.Round(new float[3], new float[4]));
    }

    [Fact]
    public void Add_WithRounding_RoundsBothChildrenAndTheSum()
    {
        // Shifted, so that every value meets another.
        float[] left = s_all, right = [.. s_all[77_777..], .. s_all[..77_777]];
        uint[] expected = [.. left.Zip(right, static (a, b) => Reference(Float(Reference(a)) + Float(Reference(b))))];
        float[] sum = [.. left];
        PartialSum.Add(sum, right, WirePrecision.Bf16);
        for (int i = 0; i < sum.Length; i++)
        {
            // Which of two NaNs an addition gives is the processor's affair; none of them is ever added for good.
            if (!float.IsNaN(Float(expected[i])) || !float.IsNaN(sum[i]))
                Assert.True(expected[i] == Bits(sum[i]), $"{left[i]:R} + {right[i]:R} is {sum[i]:R}, not {Float(expected[i]):R}");
        }
    }

    [Fact]
    public void Words_OfBoth_AreParsedAndNothingElseIs()
    {
        foreach (WirePrecision precision in Enum.GetValues<WirePrecision>())
            Assert.Equal(precision, WirePrecisions.Parse(precision.Word()));
        Assert.Contains("--wire", Assert.Throws<ConfigurationException>(static () => WirePrecisions.Parse("BF16")).Message, StringComparison.Ordinal);
    }

    /// <summary>By the definition: of the two neighbours the nearer one, else the one whose last bit is 0.</summary>
    private static uint Reference(float x)
    {
        uint bits = Bits(x), sign = bits & 0x8000_0000;
        if (float.IsNaN(x))
            return (bits | 0x0040_0000) & 0xFFFF_0000;
        if (float.IsInfinity(x))
            return bits;
        uint below = bits & 0x7FFF_0000, above = below + 0x1_0000;
        // The neighbour of the largest number counts as 2^128, where infinity begins.
        double size = Math.Abs((double)x), toBelow = size - Float(below), toAbove = (above == 0x7F80_0000 ? Math.Pow(2, 128) : Float(above)) - size;
        return sign | (toBelow < toAbove ? below : toAbove < toBelow ? above : (below & 0x1_0000) == 0 ? below : above);
    }

    private static uint[] Round<TLanes>(float[] values)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        Assert.Equal(0, values.Length % TLanes.Count);
        float[] rounded = new float[values.Length];
        fixed (float* from = values, to = rounded)
        {
            for (int i = 0; i < values.Length; i += TLanes.Count)
                TLanes.Store(to + i, TLanes.RoundToBfloat16(TLanes.Load(from + i)));
        }

        return [.. rounded.Select(Bits)];
    }

    private static uint Bits(float x) => BitConverter.SingleToUInt32Bits(x);

    private static float Float(uint bits) => BitConverter.UInt32BitsToSingle(bits);
}
