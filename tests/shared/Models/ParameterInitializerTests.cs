using Distributed.Models;

namespace Distributed.Tests.Models;

public sealed class ParameterInitializerTests
{
    private static readonly ResolvedModel s_model = ModelResolver.Resolve(BuiltInModels.ConvNet, new SampleShape(28, 28, 1), 10);

    [Fact]
    public void Create_ForEachTensor_IsGlorotUniformOrZero()
    {
        float[] parameters = ParameterInitializer.Create(s_model, seed: 1);
        foreach (ParameterTensor tensor in s_model.Parameters)
        {
            float[] values = parameters[tensor.Offset..(tensor.Offset + tensor.Length)];
            if (tensor.Shape.Length == 1)
            {
                Assert.All(values, static value => Assert.Equal(0f, value));
                continue;
            }

            int field = tensor.Shape.Length == 4 ? 9 : 1;
            double limit = Math.Sqrt(6.0 / (field * (tensor.Shape[^2] + tensor.Shape[^1])));
            Assert.All(values, value => Assert.InRange(value, -limit - 1e-7, limit + 1e-7));
            // Five standard deviations of the mean, and of the second moment, of a uniform distribution.
            double n = Math.Sqrt(values.Length);
            Assert.InRange(values.Average(), -5 * limit / Math.Sqrt(3) / n, 5 * limit / Math.Sqrt(3) / n);
            Assert.InRange(values.Average(static value => (double)value * value) / (limit * limit), (1.0 / 3) - (5 * 0.298 / n), (1.0 / 3) + (5 * 0.298 / n));
        }
    }

    /// <summary>The initial weights are part of the guarantee: whoever changes them changes every run. The sum is that of an independent computation.</summary>
    [Fact]
    public void Create_ForSeedOne_HasTheseBits() => Assert.Equal(
        "354393b00a7d5346b240b147c6927f63d390e64320062b9bdf13022cc482891a",
        WeightsHash.Sha256(ParameterInitializer.Create(s_model, seed: 1)));

    [Fact]
    public void Create_ForAnotherSeed_Differs() =>
        Assert.NotEqual(ParameterInitializer.Create(s_model, 1), ParameterInitializer.Create(s_model, 2));
}
