using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>
/// The functions that a library would compute differently from machine to machine: here each is one sequence of exactly
/// rounded operations. Polynomials as in Cephes (Moshier, 1992); within 2 units in the last place.
/// </summary>
internal static class Transcendental
{
    // Adding and taking away 1.5 x 2^23 rounds a float32 below 2^22 to a whole number.
    private const float RoundToWhole = 12582912f;

    /// <summary>e^x, for x held within [-87.3, 88.3], where neither the result nor its parts leave the normal numbers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Exp<TLanes>(TLanes x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes highest = TLanes.Splat(88.3f), lowest = TLanes.Splat(-87.3f), magic = TLanes.Splat(RoundToWhole);
        x = TLanes.SelectGreater(x, highest, highest, x);
        x = TLanes.SelectGreater(lowest, x, lowest, x);

        // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, the first exact times any n.
        TLanes n = TLanes.Subtract(TLanes.MultiplyAdd(x, TLanes.Splat(1.44269504f), magic), magic);
        TLanes r = TLanes.MultiplyAdd(n, TLanes.Splat(-0.693359375f), x);
        r = TLanes.MultiplyAdd(n, TLanes.Splat(2.12194440e-4f), r);

        TLanes p = TLanes.Splat(1.9875691500e-4f);
        p = TLanes.MultiplyAdd(p, r, TLanes.Splat(1.3981999507e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Splat(8.3334519073e-3f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Splat(4.1665795894e-2f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Splat(1.6666665459e-1f));
        p = TLanes.MultiplyAdd(p, r, TLanes.Splat(5.0000001201e-1f));
        p = TLanes.MultiplyAdd(p, TLanes.Multiply(r, r), r);
        return TLanes.Multiply(TLanes.Add(p, TLanes.Splat(1)), TLanes.PowerOfTwo(n));
    }

    /// <summary>1 / (1 + e^-x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Sigmoid<TLanes>(TLanes x)
        where TLanes : unmanaged, ILanes<TLanes> =>
        TLanes.Divide(TLanes.Splat(1), TLanes.Add(TLanes.Splat(1), Exp(TLanes.Subtract(TLanes.Zero, x))));

    /// <summary>tanh x: 1 - 2 / (e^2x + 1), or a polynomial near zero, where that would cancel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TLanes Tanh<TLanes>(TLanes x)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        TLanes one = TLanes.Splat(1);
        TLanes large = TLanes.Subtract(one, TLanes.Divide(TLanes.Splat(2), TLanes.Add(Exp(TLanes.Add(x, x)), one)));

        TLanes square = TLanes.Multiply(x, x);
        TLanes p = TLanes.Splat(-5.70498872745e-3f);
        p = TLanes.MultiplyAdd(p, square, TLanes.Splat(2.06390887954e-2f));
        p = TLanes.MultiplyAdd(p, square, TLanes.Splat(-5.37397155531e-2f));
        p = TLanes.MultiplyAdd(p, square, TLanes.Splat(1.33314422036e-1f));
        p = TLanes.MultiplyAdd(p, square, TLanes.Splat(-3.33332819422e-1f));
        TLanes small = TLanes.MultiplyAdd(TLanes.Multiply(p, square), x, x);
        return TLanes.SelectGreater(square, TLanes.Splat(0.625f * 0.625f), large, small);
    }

    /// <summary>The natural logarithm of a positive number: 2 artanh((m - 1) / (m + 1)) of its mantissa, plus its exponent times ln 2.</summary>
    public static double Log(double x)
    {
        if (!double.IsFinite(x))
            return x;
        int exponent = Math.ILogB(x);
        double mantissa = Math.ScaleB(x, -exponent);
        if (mantissa > 1.4142135623730951)
        {
            mantissa /= 2;
            exponent++;
        }

        double f = (mantissa - 1) / (mantissa + 1);
        double square = f * f;
        double series = 0;
        for (int term = 23; term >= 1; term -= 2)
            series = (series * square) + (1.0 / term);
        return (exponent * 0.6931471805599453) + (2 * f * series);
    }
}
