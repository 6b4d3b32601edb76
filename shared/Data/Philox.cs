using System.Runtime.CompilerServices;

namespace Distributed.Data;

/// <summary>What random numbers are drawn for: part of the generator's key, so that no two uses share a stream.</summary>
public enum RandomPurpose : uint
{
    InitialWeights = 1,
    Shuffle = 2,
    Dropout = 3,
}

/// <summary>
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a counter-based generator.
/// A number depends on (seed, purpose, a, b) and its index alone, never on who draws it or what was drawn before.
/// </summary>
public struct Philox
{
    private readonly uint _key0, _key1, _purpose, _a, _b;
    private uint _block;
    private uint _v0, _v1, _v2, _v3;
    private int _left;

    /// <param name="seed">The run's seed.</param>
    /// <param name="purpose">What the numbers are for.</param>
    /// <param name="a">First coordinate within the purpose (an epoch, a layer).</param>
    /// <param name="b">Second coordinate (a shard, a sample).</param>
    /// <param name="stream">Third coordinate, below 2^24 (a layer).</param>
    public Philox(ulong seed, RandomPurpose purpose, uint a, uint b, uint stream = 0)
    {
        _key0 = (uint)seed;
        _key1 = (uint)(seed >> 32);
        _purpose = (uint)purpose | (stream << 8);
        _a = a;
        _b = b;
    }

    /// <summary>32 uniform bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public uint NextUInt32()
    {
        if (_left == 0)
        {
            (_v0, _v1, _v2, _v3) = Block(_block++, _purpose, _a, _b, _key0, _key1);
            _left = 4;
        }

        return _left-- switch { 4 => _v0, 3 => _v1, 2 => _v2, _ => _v3 };
    }

    /// <summary>Uniform in [0, 1) with 24 bits: exact in float32.</summary>
    public float NextSingle() => (NextUInt32() >> 8) * (1.0f / (1 << 24));

    /// <summary>Uniform in [0, bound), without bias (Lemire, "Fast random integer generation in an interval", 2019).</summary>
    public uint NextBelow(uint bound)
    {
        ArgumentOutOfRangeException.ThrowIfZero(bound);
        ulong product = (ulong)NextUInt32() * bound;
        if ((uint)product < bound)
        {
            uint threshold = (uint)(-(int)bound) % bound;
            while ((uint)product < threshold)
                product = (ulong)NextUInt32() * bound;
        }

        return (uint)(product >> 32);
    }

    /// <summary>The raw function: four words from a 128-bit counter and a 64-bit key.</summary>
    internal static (uint, uint, uint, uint) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (int round = 0; round < 10; round++)
        {
            ulong p0 = 0xD2511F53ul * c0;
            ulong p1 = 0xCD9E8D57ul * c2;
            (c0, c1, c2, c3) = ((uint)(p1 >> 32) ^ c1 ^ k0, (uint)p1, (uint)(p0 >> 32) ^ c3 ^ k1, (uint)p0);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        return (c0, c1, c2, c3);
    }
}
