using Distributed.Engine;
using Distributed.Models;
using Distributed.Optimizers;

namespace Distributed.Tests.Optimizers;

/// <summary>Each rule against its formula in double precision, over several steps and around the vector edge.</summary>
public sealed class OptimizerTests
{
    private const int Samples = 64;

    public static TheoryData<string, OptimizerSettings> Settings { get; } = new()
    {
        { "rmsprop", OptimizerSettings.Default(OptimizerKind.Rmsprop) },
        { "rmsprop, all set", new OptimizerSettings(OptimizerKind.Rmsprop, 0.02, Rho: 0.5, Epsilon: 1e-3) },
        { "sgd", OptimizerSettings.Default(OptimizerKind.Sgd) },
        { "sgd with momentum", new OptimizerSettings(OptimizerKind.Sgd, 0.1, Momentum: 0.9) },
        { "sgd with nesterov", new OptimizerSettings(OptimizerKind.Sgd, 0.1, Momentum: 0.8, Nesterov: true) },
        { "adam", OptimizerSettings.Default(OptimizerKind.Adam) },
        { "adam, all set", new OptimizerSettings(OptimizerKind.Adam, 0.01, Beta1: 0.5, Beta2: 0.9, Epsilon: 1e-4) },
    };

    [Theory]
    [MemberData(nameof(Settings))]
    public void Update_SeveralSteps_FollowsTheFormula(string name, OptimizerSettings settings)
    {
        foreach (int length in new[] { 1, 2, 15, 16, 17, 33, 100 })
        {
            Random random = new(length);
            float[] weights = [.. Enumerable.Range(0, length).Select(_ => random.NextSingle() - 0.5f)];
            double[] expected = [.. weights.Select(static weight => (double)weight)];
            Reference reference = new(settings, length);
            Optimizer optimizer = Optimizer.Create(settings, length);
            for (int step = 0; step < 8; step++)
            {
                float[] gradient = [.. Enumerable.Range(0, length).Select(i => i % 5 == 0 ? 0 : (random.NextSingle() - 0.5f) * 100)];
                optimizer.Update(weights, gradient, Samples);
                reference.Update(expected, gradient);
            }

            // Eight steps, each of which rounds a few times: some 1e-6 of the weight and of what it moved.
            for (int i = 0; i < length; i++)
                Assert.True(Math.Abs(expected[i] - weights[i]) <= 4e-6 * Math.Max(1, Math.Abs(expected[i])), $"{name}, {length} weights: weight {i} is {weights[i]}, not {expected[i]}");
        }
    }

    [Fact]
    public void Update_ByOtherInstructionSet_HasTheSameBits()
    {
        // One weight at a time runs the scalar path, a hundred at once the widest.
        foreach (OptimizerSettings settings in Settings.Select(static row => row.Data.Item2))
        {
            Random random = new(3);
            float[] gradient = [.. Enumerable.Range(0, 100).Select(_ => (random.NextSingle() - 0.5f) * 10)];
            float[] together = [.. gradient.Select(static value => value / 20)], alone = [.. together];
            Optimizer optimizer = Optimizer.Create(settings, together.Length);
            Optimizer[] single = [.. together.Select(_ => Optimizer.Create(settings, 1))];
            for (int step = 0; step < 3; step++)
            {
                optimizer.Update(together, gradient, 48);
                for (int i = 0; i < alone.Length; i++)
                    single[i].Update(alone.AsSpan(i, 1), gradient.AsSpan(i, 1), 48);
            }

            Assert.Equal(WeightsHash.Sha256(together), WeightsHash.Sha256(alone));
        }
    }

    [Fact]
    public void UpdateRange_InAnyRangesAndOrder_HasTheBitsOfOneUpdate()
    {
        foreach (OptimizerSettings settings in Settings.Select(static row => row.Data.Item2))
        {
            Random random = new(4);
            float[] gradient = [.. Enumerable.Range(0, 100).Select(_ => (random.NextSingle() - 0.5f) * 10)];
            float[] whole = [.. gradient.Select(static value => value / 20)], divided = [.. whole];
            Optimizer optimizer = Optimizer.Create(settings, 100), other = Optimizer.Create(settings, 100);
            for (int step = 0; step < 3; step++)
            {
                optimizer.Update(whole, gradient, 48);
                other.BeginStep();
                foreach ((int first, int end) in new[] { (64, 100), (0, 0), (17, 64), (0, 17) })
                    other.UpdateRange(divided, gradient, 48, first, end);
            }

            Assert.Equal(WeightsHash.Sha256(whole), WeightsHash.Sha256(divided));
            Assert.Throws<ArgumentOutOfRangeException>(() => other.UpdateRange(divided, gradient, 48, 90, 101));
            Assert.Throws<ArgumentOutOfRangeException>(() => other.UpdateRange(divided, gradient, 48, -1, 5));
        }
    }

    [Fact]
    public void Update_WithoutGradient_LeavesWeightsAndStaysNormal()
    {
        foreach (OptimizerKind kind in Enum.GetValues<OptimizerKind>())
        {
            Optimizer optimizer = Optimizer.Create(OptimizerSettings.Default(kind) with { Momentum = 0.5 }, 1);
            float[] weight = [0.25f];
            optimizer.Update(weight, [1f], 1);
            for (int step = 0; step < 2000; step++)
                optimizer.Update(weight, [0f], 1);
            float settled = weight[0];
            for (int step = 0; step < 100; step++)
                optimizer.Update(weight, [0f], 1);
            Assert.Equal(settled, weight[0]);
        }
    }

    [Fact]
    public void Update_NotANumber_IsNotHidden()
    {
        foreach (OptimizerKind kind in Enum.GetValues<OptimizerKind>())
        {
            float[] weight = [0.25f];
            Optimizer.Create(OptimizerSettings.Default(kind), 1).Update(weight, [float.NaN], 1);
            Assert.True(float.IsNaN(weight[0]));
        }
    }

    [Theory]
    [InlineData(0, 0.9, 0, "--learning-rate")]
    [InlineData(double.NaN, 0.9, 0, "--learning-rate")]
    [InlineData(0.1, 1.5, 0, "--rho")]
    [InlineData(0.1, 0.9, -1, "--momentum")]
    public void Create_ArgumentOutOfRange_IsRefusedByName(double rate, double rho, double momentum, string option)
    {
        OptimizerSettings settings = new(OptimizerKind.Rmsprop, rate, rho, momentum);
        ConfigurationException refusal = Assert.Throws<ConfigurationException>(() => Optimizer.Create(settings, 1));
        Assert.StartsWith(option, refusal.Message, StringComparison.Ordinal);
    }

    private sealed class Reference(OptimizerSettings settings, int length)
    {
        private readonly double[] _first = new double[length], _second = new double[length];
        private int _step;

        public void Update(double[] weights, float[] gradientSum)
        {
            _step++;
            for (int i = 0; i < length; i++)
            {
                double g = gradientSum[i] / (double)Samples;
                weights[i] += settings.Kind switch
                {
                    OptimizerKind.Rmsprop => Rmsprop(i, g),
                    OptimizerKind.Sgd => Sgd(i, g),
                    _ => Adam(i, g),
                };
            }
        }

        private double Rmsprop(int i, double g)
        {
            _second[i] = (settings.Rho * _second[i]) + ((1 - settings.Rho) * g * g);
            return -settings.LearningRate * g / (Math.Sqrt(_second[i]) + settings.Epsilon);
        }

        private double Sgd(int i, double g)
        {
            _first[i] = (settings.Momentum * _first[i]) - (settings.LearningRate * g);
            return settings.Nesterov ? (settings.Momentum * _first[i]) - (settings.LearningRate * g) : _first[i];
        }

        private double Adam(int i, double g)
        {
            _first[i] = (settings.Beta1 * _first[i]) + ((1 - settings.Beta1) * g);
            _second[i] = (settings.Beta2 * _second[i]) + ((1 - settings.Beta2) * g * g);
            double rate = settings.LearningRate * Math.Sqrt(1 - Math.Pow(settings.Beta2, _step)) / (1 - Math.Pow(settings.Beta1, _step));
            return -rate * _first[i] / (Math.Sqrt(_second[i]) + settings.Epsilon);
        }
    }
}
