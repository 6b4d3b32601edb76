using Distributed.Engine;
using Distributed.Models;
using Distributed.Optimizers;

namespace Distributed.Tests.Engine;

public sealed class ArithmeticTests
{
    // Of the weights after the steps below.
    private const string PinnedSha256 = "8cc466873fabd3929b39750d50debb36d53ce49fa9497bb4632251a5077a77e3";

    /// <summary>
    /// The promise is the same bits for all who run one version: whoever alters them, knowingly or not, raises the version, which keeps
    /// workers and checkpoints of another away, and pins the new ones here.
    /// </summary>
    [Fact]
    public void Version_IsRaisedWhenTheBitsChange()
    {
        ResolvedModel model = ModelResolver.Resolve(BuiltInModels.ConvNet, new SampleShape(28, 28, 1), 10);
        using Network network = Network.Compile(model, 8, InstructionSets.Best);
        using Executor executor = network.CreateExecutor();
        float[] weights = ParameterInitializer.Create(model, 1), gradient = new float[weights.Length];
        Optimizer optimizer = Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Rmsprop), weights.Length);
        byte[] labels = [0, 1, 2, 3, 4, 5, 6, 7];
        for (int step = 0; step < 5; step++)
        {
            Draw(executor.Images, step);
            network.Prepare(weights);
            executor.Train(labels, [0, 1, 2, 3, 4, 5, 6, 7], 1, 0, gradient);
            optimizer.Update(weights, gradient, labels.Length);
        }

        string sha256 = WeightsHash.Sha256(weights);
        Assert.True(
            (Arithmetic.Version, sha256) == (3, PinnedSha256),
            $"version {Arithmetic.Version} gives {sha256}: if bits are meant to change, raise Arithmetic.Version and pin both here");
    }

    /// <summary>Strokes on empty paper, from whole numbers alone.</summary>
    private static void Draw(Span<float> images, int step)
    {
        uint state = (uint)step + 1;
        for (int i = 0; i < images.Length; i++)
        {
            state = (state * 1_664_525) + 1_013_904_223;
            bool isDrawn = i / 28 % 28 is > 4 and < 23 && (i % 28) + (state >> 30) is > 8 and < 16;
            images[i] = isDrawn ? (state >> 24) / 255f : 0;
        }
    }
}
