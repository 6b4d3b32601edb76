using CsCheck;
using Distributed.Reduction;

namespace Distributed.Tests.Reduction;

public sealed class FiniteScanTests
{
    private static readonly float[] Finite = [float.MaxValue, -float.MaxValue, float.Epsilon, -float.Epsilon, 0, -0f, 1];

    [Fact]
    public void FindOther_OfNothing_FindsNothing() => Assert.Equal(-1, FiniteScan.FindOther([]));

    [Fact]
    public void FindOther_AtAnyPlace_IsFound() =>
        Gen.Select(Gen.Int[1, 300], Gen.Int[0, 299], Gen.OneOf(Gen.Const(float.NaN), Gen.Const(-float.NaN), Gen.Const(float.PositiveInfinity), Gen.Const(float.NegativeInfinity))).Sample((length, place, value) =>
        {
            float[] values = [.. Enumerable.Range(0, length).Select(static i => Finite[i % Finite.Length])];
            bool isFine = FiniteScan.FindOther(values) == -1;
            values[place % length] = value;
            return isFine && FiniteScan.FindOther(values) == place % length;
        });
}
