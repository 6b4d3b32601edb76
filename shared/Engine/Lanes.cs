namespace Distributed.Engine;

/// <summary>
/// A row of float32 lanes: the unit in which every kernel is written, once for all widths. Operations work lane by
/// lane, each as the scalar operation would: one rounding, multiply-add always fused. So a lane's value depends on
/// what went into it and never on how wide the row is, and all widths give the same bits.
/// </summary>
internal unsafe interface ILanes<TSelf>
    where TSelf : unmanaged, ILanes<TSelf>
{
    /// <summary>Number of lanes: a constant to the JIT.</summary>
    static abstract int Count { get; }

    /// <summary>True where the processor has 32 registers of this width (AVX-512, Arm64) and not 16: how large a tile may be.</summary>
    static abstract bool HasManyRegisters { get; }

    static abstract TSelf Zero { get; }

    static abstract TSelf Splat(float value);

    static abstract TSelf Load(float* source);

    static abstract void Store(float* destination, TSelf value);

    /// <summary>a b + c, rounded once.</summary>
    static abstract TSelf MultiplyAdd(TSelf a, TSelf b, TSelf c);

    /// <summary>sum = a b + sum, rounded once. In place, because the JIT moves a result that is stored elsewhere first.</summary>
    static abstract void Accumulate(ref TSelf sum, TSelf a, TSelf b);

    /// <summary>The same with b in memory, which lets the instruction itself read it.</summary>
    static abstract void Accumulate(ref TSelf sum, TSelf a, float* b);

    static abstract TSelf Add(TSelf a, TSelf b);

    static abstract TSelf Subtract(TSelf a, TSelf b);

    static abstract TSelf Multiply(TSelf a, TSelf b);

    static abstract TSelf Divide(TSelf a, TSelf b);

    static abstract TSelf Sqrt(TSelf a);

    /// <summary>Lane by lane: a &gt; b ? a : b, so b where they are equal or either is NaN.</summary>
    static abstract TSelf Max(TSelf a, TSelf b);

    /// <summary>0 where x is less than 0, else x: keeps negative zero and NaN.</summary>
    static abstract TSelf Relu(TSelf x);

    /// <summary>Lane by lane: left &gt; right ? whenGreater : otherwise. False where either is NaN.</summary>
    static abstract TSelf SelectGreater(TSelf left, TSelf right, TSelf whenGreater, TSelf otherwise);

    /// <summary>Lane by lane: left == right ? whenEqual : otherwise.</summary>
    static abstract TSelf SelectEqual(TSelf left, TSelf right, TSelf whenEqual, TSelf otherwise);

    /// <summary>Lane by lane one of four floats, two above and two below: the one that the two lowest bits of the index's representation say.</summary>
    static abstract TSelf Pick(float* above, float* below, TSelf index);

    /// <summary>2^n, for whole n from -126 to 127.</summary>
    static abstract TSelf PowerOfTwo(TSelf n);

    /// <summary>
    /// The nearest bfloat16 number (the upper 16 bits of a float32), ties to even: what is too large becomes infinite, NaN stays
    /// NaN and becomes quiet, denormal numbers are rounded like others.
    /// </summary>
    static abstract TSelf RoundToBfloat16(TSelf x);

    /// <summary>As many bytes as there are lanes, as floats.</summary>
    static abstract TSelf LoadBytes(byte* source);

    /// <summary>Whole numbers from 0 to 255 as bytes. What becomes of others is the processor's own affair.</summary>
    static abstract void StoreBytes(byte* destination, TSelf value);

    /// <summary>The bits that are set in <paramref name="any"/> or differ between a and b.</summary>
    static abstract TSelf OrDifference(TSelf any, TSelf a, TSelf b);

    /// <summary>Whether no bit is set.</summary>
    static abstract bool HasNoBits(TSelf value);
}
