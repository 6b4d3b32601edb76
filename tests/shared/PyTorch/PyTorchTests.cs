using System.Text.Json;
using Distributed.Data;
using Distributed.Data.Fetching;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Tests.PyTorch;

/// <summary>
/// The card's network against PyTorch's figures in golden.json, which make_golden.py beside it made: on the same weights
/// and the first images of MNIST, in file order. Each tensor is compared by its norm, by its products with three cosine
/// vectors and by 48 of its values.
/// </summary>
public sealed class PyTorchTests
{
    private const int BatchSize = 64;
    private const int Shards = 8;
    private const ulong Seed = 6;

    private static readonly JsonSerializerOptions _json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };
    private static readonly ResolvedModel _model = ModelResolver.Resolve(BuiltInModels.ConvNet, new SampleShape(28, 28, 1), 10);
    private static readonly Golden _golden = JsonSerializer.Deserialize<Golden>(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "PyTorch", "golden.json")), _json)!;

    [Fact]
    public void InitialWeights_OfTheSeed_AreTheOnesPyTorchStartedFrom() =>
        Assert.Equal(_golden.InitialSha256, WeightsHash.Sha256(ParameterInitializer.Create(_model, Seed)));

    [Fact]
    public async Task Gradient_OfOneBatch_AgreesWithPyTorch()
    {
        float[] gradient = new float[_model.ParameterCount];
        double lossSum = new Trainer(await LoadAsync()).Gradient(ParameterInitializer.Create(_model, Seed), step: 0, gradient);
        Assert.Equal(_golden.LossSum, lossSum, tolerance: 1e-5 * _golden.LossSum);
        foreach ((ParameterTensor tensor, GoldenTensor golden) in _model.Parameters.Zip(_golden.Gradients))
            AssertAgrees(golden, tensor, gradient, scale: golden.Norm, relative: 1e-4);
    }

    [Fact]
    public async Task Weights_After8Steps_AgreeWithPyTorch()
    {
        Trainer trainer = new(await LoadAsync());
        float[] weights = ParameterInitializer.Create(_model, Seed), gradient = new float[_model.ParameterCount];
        Optimizer optimizer = Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Rmsprop), weights.Length);
        for (int step = 0; step < 8; step++)
        {
            trainer.Gradient(weights, step, gradient);
            optimizer.Update(weights, gradient, BatchSize);
        }

        // Relative to a layer's weights, kernel and bias together; make_golden.py says why not finer.
        foreach ((int i, ParameterTensor tensor) in _model.Parameters.Index())
        {
            GoldenTensor kernel = _golden.WeightsAfter8Steps[i & ~1], bias = _golden.WeightsAfter8Steps[i | 1];
            AssertAgrees(_golden.WeightsAfter8Steps[i], tensor, weights, scale: double.Hypot(kernel.Norm, bias.Norm), relative: 1e-3);
        }
    }

    private static void AssertAgrees(GoldenTensor golden, ParameterTensor tensor, float[] all, double scale, double relative)
    {
        Assert.Equal(golden.Name, tensor.Name);
        ReadOnlySpan<float> values = all.AsSpan(tensor.Offset, tensor.Length);
        double square = 0;
        double[] products = new double[3];
        for (int i = 0; i < values.Length; i++)
        {
            square += (double)values[i] * values[i];
            for (int k = 0; k < 3; k++)
                products[k] += values[i] * Math.Cos((0.37 * (k + 1) * i) + k + 1);
        }

        // An error spread evenly has this size in one value; a product with a cosine sums such errors to sqrt(n / 2) of it.
        double tolerance = relative * scale;
        Assert.Equal(golden.Norm, Math.Sqrt(square), tolerance);
        for (int k = 0; k < 3; k++)
            Assert.Equal(golden.Products[k], products[k], tolerance);
        for (int i = 0; i < golden.Places.Length; i++)
            Assert.Equal(golden.Values[i], values[golden.Places[i]], tolerance);
    }

    private static async Task<Dataset> LoadAsync() =>
        (await new DatasetSource(new DatasetSourceOptions()).LoadAsync("mnist", null, null, TestContext.Current.CancellationToken)).Dataset;

    private sealed class Trainer(Dataset dataset)
    {
        private readonly ShardPlan _plan = new(dataset.Train.Count, BatchSize, Shards, Seed, shuffle: false);
        private readonly Network _network = Network.Compile(_model, BatchSize / Shards, InstructionSets.Best);

        /// <summary>Sums the step's microbatches in shard order; the tree's order differs in rounding alone.</summary>
        public double Gradient(float[] weights, int step, float[] gradient)
        {
            using Executor executor = _network.CreateExecutor();
            _network.Prepare(weights);
            Array.Clear(gradient);
            float[] microbatch = new float[gradient.Length];
            double lossSum = 0;
            for (int shard = 0; shard < Shards; shard++)
            {
                int[] samples = [.. Enumerable.Range(step * _plan.Microbatch, _plan.Microbatch).Select(position => _plan.SampleAt(shard, position))];
                for (int i = 0; i < samples.Length; i++)
                    dataset.Train.CopyScaled(samples[i], executor.Images.Slice(i * _model.Input.Length, _model.Input.Length));
                byte[] labels = [.. samples.Select(sample => dataset.Train.Labels[sample])];
                lossSum += executor.Train(labels, samples, Seed, epoch: 0, microbatch).LossSum;
                PartialSum.Add(gradient, microbatch);
            }

            return lossSum;
        }
    }

    private sealed record Golden(
        string InitialSha256, double LossSum, GoldenTensor[] Gradients,
        [property: System.Text.Json.Serialization.JsonPropertyName("weights_after_8_steps")] GoldenTensor[] WeightsAfter8Steps);

    private sealed record GoldenTensor(string Name, double Norm, double[] Products, int[] Places, double[] Values);
}
