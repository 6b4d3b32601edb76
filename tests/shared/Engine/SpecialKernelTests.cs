using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Tests.Engine;

/// <summary>
/// The fused convolution and pool, exact sparsity and the small convolution algorithms around the edges of vectors and tiles,
/// against the double-precision reference and between instruction sets.
/// </summary>
public sealed class SpecialKernelTests
{
    private const int Microbatch = 9;

    private static readonly int[] _channels = [1, 2, 3, 15, 16, 17, 31, 33, 63, 64, 65];

    /// <summary>Image side, channels before and filters behind, padding, samples.</summary>
    public static TheoryData<int, int, int, string, int> Shapes { get; } =
        [.. from i in Enumerable.Range(0, 2 * _channels.Length)
            select new TheoryDataRow<int, int, int, string, int>(
                6 + (i % 4), _channels[i % _channels.Length], _channels[(i * 3) % _channels.Length], i % 2 == 0 ? "valid" : "same", 1 + (i % Microbatch))];

    [Theory]
    [MemberData(nameof(Shapes))]
    public void ConvolutionPool_AnyShape_AgreesWithReference(int side, int channels, int filters, string padding, int samples) =>
        AssertAgrees(Pooled(side, channels, filters, padding), samples, "relu and pool fused");

    [Theory]
    [MemberData(nameof(Shapes))]
    public void ConvolutionPool_AnyInstructionSet_HasTheSameBits(int side, int channels, int filters, string padding, int samples) =>
        AssertSameBits(Pooled(side, channels, filters, padding), samples);

    [Theory]
    [InlineData(12, 1, "valid")]
    [InlineData(12, 33, "same")]
    [InlineData(70, 5, "valid")]
    public void ConvolutionPool_ImagesWithEmptyRegions_AgreesWithReference(int side, int filters, string padding)
    {
        ResolvedModel model = Resolve(side, $$"""
            {"layer":"Conv2D","filters":{{filters}},"kernel_size":3,"activation":"relu","padding":"{{padding}}"},{"layer":"MaxPooling2D","pool_size":2},
            """);
        (float[] parameters, float[] images) = Draw(model);
        // The first image is drawn on its lower half only, the second not at all.
        int length = model.Input.Length;
        images.AsSpan(0, length / 2).Clear();
        images.AsSpan(length, length).Clear();
        AssertAgrees(model, parameters, images, samples: 3, "relu and pool fused");
    }

    /// <summary>
    /// Windows whose positions see equal patches, of every kind: beside, below and across each other, alike in all four, and
    /// empty, which with biases of zero is where noise would pass ReLU.
    /// </summary>
    [Theory]
    [InlineData(12, 16, 33, "valid")]
    [InlineData(13, 17, 16, "same")]
    [InlineData(14, 32, 64, "valid")]
    [InlineData(70, 16, 1, "valid")]
    public void ConvolutionPool_RepeatedPatches_AgreesWithReference(int side, int channels, int filters, string padding)
    {
        ResolvedModel model = Pooled(side, channels, filters, padding);
        (float[] parameters, float[] images) = Draw(model);
        ClearBiases(model, parameters);
        DrawRepeats(model, images);
        AssertAgrees(model, parameters, images, samples: 5, "F(5x5,3x3) mended");
        AssertSameBits(model, parameters, images, samples: 5);
    }

    [Fact]
    public void Convolution_EmptyPatches_AgreesWithReference()
    {
        // Outputs of 3 x 3 and their multiples go by tiles of that size, and no pool behind them asks for ties.
        ResolvedModel model = Resolve(8, """
            {"layer":"Conv2D","filters":16,"kernel_size":1,"activation":"relu"},
            {"layer":"Conv2D","filters":20,"kernel_size":[3,4],"activation":"relu"},
            {"layer":"Conv2D","filters":17,"kernel_size":1,"activation":"relu"},
            {"layer":"Conv2D","filters":18,"kernel_size":3,"padding":"same","activation":"relu"},
            """);
        (float[] parameters, float[] images) = Draw(model);
        ClearBiases(model, parameters);
        DrawRepeats(model, images);
        AssertAgrees(model, parameters, images, samples: 5, "25 products mended where patches are empty");
        AssertSameBits(model, parameters, images, samples: 5);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Convolution_AnyShape_AgreesWithReference(int side, int channels, int filters, string padding, int samples) =>
        AssertAgrees(Plain(side, channels, filters, padding), samples, Math.Min(channels, filters) >= 16 ? "products" : "direct");

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Convolution_AnyInstructionSet_HasTheSameBits(int side, int channels, int filters, string padding, int samples) =>
        AssertSameBits(Plain(side, channels, filters, padding), samples);

    /// <summary>What a pass leaves in the arena is nothing to the next one, however large or strange it was.</summary>
    [Theory]
    [InlineData(6, 16, 17, "valid")]
    [InlineData(7, 33, 16, "same")]
    [InlineData(9, 17, 33, "valid")]
    [InlineData(14, 32, 64, "same")]
    public void Executor_AfterAnotherPass_GivesWhatANewOneDoes(int side, int channels, int filters, string padding)
    {
        foreach (ResolvedModel model in new[] { Pooled(side, channels, filters, padding), Plain(side, channels, filters, padding), Resolve(side, $$"""
            {"layer":"Conv2D","filters":{{filters}},"kernel_size":3,"activation":"relu","padding":"{{padding}}"},{"layer":"MaxPooling2D","pool_size":2},
            """) })
        {
            (float[] parameters, float[] images) = Draw(model);
            images.AsSpan(0, images.Length / 3).Clear();
            (MicrobatchResult expected, float[] gradient, _) = Train(model, InstructionSets.Best, parameters, images, samples: 5);
            foreach (float left in new[] { 1, float.NaN })
            {
                using Network network = Network.Compile(model, Microbatch, InstructionSets.Best);
                using Executor executor = network.CreateExecutor();
                float[] again = new float[model.ParameterCount];
                network.Prepare(parameters);
                executor.Images.Fill(left);
                Run(executor, Microbatch, again);
                images.CopyTo(executor.Images);
                Assert.Equal(expected, Run(executor, 5, again));
                Assert.Equal(WeightsHash.Sha256(gradient), WeightsHash.Sha256(again));
            }
        }
    }

    /// <summary>The 1x1 convolution in front makes the input one of many channels whose gradient is needed.</summary>
    private static ResolvedModel Pooled(int side, int channels, int filters, string padding) => Resolve(side, $$"""
        {"layer":"Conv2D","filters":{{channels}},"kernel_size":1,"activation":"relu"},
        {"layer":"Conv2D","filters":{{filters}},"kernel_size":3,"activation":"relu","padding":"{{padding}}"},{"layer":"MaxPooling2D","pool_size":2},
        """);

    private static ResolvedModel Plain(int side, int channels, int filters, string padding) => Resolve(side, $$"""
        {"layer":"Conv2D","filters":{{channels}},"kernel_size":1,"activation":"relu"},
        {"layer":"Conv2D","filters":{{filters}},"kernel_size":3,"activation":"relu","padding":"{{padding}}"},
        """);

    private static ResolvedModel Resolve(int side, string layers)
    {
        string json = $$"""{"name":"test","layers":[{{layers}}{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}]}""";
        return ModelResolver.Resolve(ModelJson.Read(System.Text.Encoding.UTF8.GetBytes(json), "test"), new SampleShape(side, side + 1, 2), 3);
    }

    private static void AssertAgrees(ResolvedModel model, int samples, string kernels)
    {
        (float[] parameters, float[] images) = Draw(model);
        AssertAgrees(model, parameters, images, samples, kernels);
    }

    private static void AssertAgrees(ResolvedModel model, float[] parameters, float[] images, int samples, string kernels)
    {
        (MicrobatchResult result, float[] actual, string names) = Train(model, InstructionSets.Best, parameters, images, samples);
        (double loss, double[] expected) = new ReferenceNetwork(model).Train(
            [.. parameters.Select(static value => (double)value)],
            [.. images.Select(static value => (double)value).Chunk(model.Input.Length).Take(samples)],
            [.. Enumerable.Range(0, samples).Select(static i => i % 3)], [.. Enumerable.Range(0, samples)]);

        Assert.Contains(kernels, names, StringComparison.Ordinal);
        Assert.Equal(loss, result.LossSum, tolerance: 1e-5 * loss);
        foreach (ParameterTensor tensor in model.Parameters)
        {
            // Relative to the tensor's largest gradient: a single small one is a difference of sums of that size.
            double scale = expected.AsSpan(tensor.Offset, tensor.Length).ToArray().Max(Math.Abs);
            for (int i = tensor.Offset; i < tensor.Offset + tensor.Length; i++)
                Assert.Equal(expected[i], actual[i], tolerance: (1e-5 * scale) + 1e-9);
        }
    }

    private static void AssertSameBits(ResolvedModel model, int samples)
    {
        (float[] parameters, float[] images) = Draw(model);
        // Whole regions of nothing and biases of zero: dead units, ties and negative zeros.
        ClearBiases(model, parameters);
        images.AsSpan(0, images.Length / 3).Clear();
        images.AsSpan(images.Length / 3, images.Length / 3).Fill(-0f);
        AssertSameBits(model, parameters, images, samples);
    }

    private static void AssertSameBits(ResolvedModel model, float[] parameters, float[] images, int samples)
    {
        (MicrobatchResult result, float[] gradient, _) = Train(model, InstructionSet.Scalar, parameters, images, samples);
        foreach (InstructionSet set in new[] { InstructionSet.Vector128, InstructionSet.Avx2, InstructionSet.Avx512 })
        {
            (MicrobatchResult other, float[] otherGradient, _) = Train(model, set, parameters, images, samples);
            Assert.Equal(result, other);
            Assert.Equal(WeightsHash.Sha256(gradient), WeightsHash.Sha256(otherGradient));
        }
    }

    private static void ClearBiases(ResolvedModel model, float[] parameters)
    {
        foreach (ParameterTensor tensor in model.Parameters.Where(static tensor => tensor.Shape.Length == 1))
            parameters.AsSpan(tensor.Offset, tensor.Length).Clear();
    }

    /// <summary>The first image is drawn on its right only, the next two repeat along the diagonals, the fourth has one colour below, the fifth none.</summary>
    private static void DrawRepeats(ResolvedModel model, float[] images)
    {
        (int height, int width, int channels) = (model.Input.Height, model.Input.Width, model.Input.Channels);
        Random random = new(1);
        float[] palette = [.. Enumerable.Range(0, (height + width) * channels).Select(_ => random.NextSingle())];
        for (int i = 0; i < 5 * model.Input.Length; i++)
        {
            (int y, int x, int channel) = (i / channels / width % height, i / channels % width, i % channels);
            images[i] = (i / model.Input.Length) switch
            {
                0 => x < width / 2 ? -0f : images[i],
                1 => palette[((x + y) * channels) + channel],
                2 => palette[((x - y + height) * channels) + channel],
                3 => y < height / 2 ? images[i] : palette[channel],
                _ => 0,
            };
        }
    }

    private static (float[] Parameters, float[] Images) Draw(ResolvedModel model)
    {
        Random random = new(model.ParameterCount);
        float[] parameters = ParameterInitializer.Create(model, 1);
        foreach (ParameterTensor tensor in model.Parameters.Where(static tensor => tensor.Shape.Length == 1))
        {
            foreach (ref float bias in parameters.AsSpan(tensor.Offset, tensor.Length))
                bias = (random.NextSingle() - 0.5f) / 2;
        }

        float[] images = new float[Microbatch * model.Input.Length];
        foreach (ref float pixel in images.AsSpan())
            pixel = random.NextSingle();
        return (parameters, images);
    }

    private static (MicrobatchResult Result, float[] Gradient, string Kernels) Train(
        ResolvedModel model, InstructionSet set, float[] parameters, float[] images, int samples)
    {
        using Network network = Network.Compile(model, Microbatch, set);
        using Executor executor = network.CreateExecutor();
        network.Prepare(parameters);
        images.CopyTo(executor.Images);
        float[] gradient = new float[model.ParameterCount];
        MicrobatchResult result = Run(executor, samples, gradient);
        return (result, gradient, string.Join("; ", network.Operations.Select(static operation => operation.Kernels)));
    }

    private static MicrobatchResult Run(Executor executor, int samples, float[] gradient) =>
        executor.Train([.. Enumerable.Range(0, samples).Select(static i => (byte)(i % 3))], [.. Enumerable.Range(0, samples)], 1, 0, gradient);
}
