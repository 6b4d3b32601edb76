namespace Distributed.Engine;

/// <summary>
/// How a float32 is rounded to bfloat16, its upper half, to nearest and ties to even: add just less than half of the last bit
/// kept, and one more if that bit is set, then drop the lower half. A carry runs on into the exponent, as it should.
/// </summary>
internal static class Bfloat16Bits
{
    /// <summary>Lower bits of a float32 that a bfloat16 has not.</summary>
    public const int Dropped = 16;

    /// <summary>The upper bits, that it has.</summary>
    public const uint Kept = 0xFFFF_0000;

    public const uint BelowHalf = 0x7FFF;

    /// <summary>Set in a NaN, keeps it one when its lower half goes.</summary>
    public const uint QuietNaN = 0x0040_0000;
}
