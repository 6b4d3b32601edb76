using Distributed.Coordinator.Training;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Tests;

public sealed class StagedUpdateTests
{
    private const int Parameters = 100, Steps = 6;

    public static TheoryData<int, int> Kinds => new(
        from kind in Enum.GetValues<OptimizerKind>() from wire in Enum.GetValues<WirePrecision>() select ((int)kind, (int)wire));

    /// <summary>Whatever is taken back, what is committed in the end is what the optimizer makes of a step at once.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public void Update_TakenBackAfterAnyChunk_LeavesNoTrace(int kind, int wire)
    {
        Random random = new(kind);
        OptimizerSettings settings = OptimizerSettings.Default((OptimizerKind)kind);
        Optimizer plain = Optimizer.Create(settings, Parameters), staged = Optimizer.Create(settings, Parameters);
        RunWeights expected = new((WirePrecision)wire, Parameters, null), actual = new((WirePrecision)wire, Parameters, null);
        foreach (RunWeights weights in (RunWeights[])[expected, actual])
        {
            weights.Master.Values.Fill(0.5f);
            weights.ShowRounded();
        }

        VectorChunks chunks = new(Parameters, 16);
        StagedUpdate update = new(staged, actual, chunks);
        for (int step = 0; step < Steps; step++)
        {
            Partial sum = new(Parameters) { Samples = 8 };
            foreach (ref float value in sum.Gradient.Values)
                value = random.NextSingle() - 0.5f;
            float[] before = [.. actual.Master.Values];
            foreach (int done in (int[])[random.Next(chunks.Count + 1), random.Next(chunks.Count + 1), chunks.Count])
            {
                update.TakeBack(step);
                AssertSame(plain, staged);
                for (int chunk = 0; chunk < done; chunk++)
                    update.UpdateChunk(sum.Gradient.Values, sum.Samples);
                Assert.Equal(done, update.Done);
                Assert.Equal(before, actual.Master.Values.ToArray());
            }

            expected.Update(plain, sum);
            Assert.Equal(expected.Shown.Values.ToArray(), update.Next.Values.ToArray());
            update.Commit();
            Assert.Equal(0, update.Done);
            AssertSame(plain, staged);
            Assert.Equal(expected.Master.Values.ToArray(), actual.Master.Values.ToArray());
            Assert.Equal(expected.Shown.Values.ToArray(), actual.Shown.Values.ToArray());
        }
    }

    [Fact]
    public void Commit_OfAPart_IsRefused()
    {
        StagedUpdate update = new(Optimizer.Create(OptimizerSettings.Default(OptimizerKind.Sgd), Parameters), new RunWeights(WirePrecision.Float32, Parameters, null), new VectorChunks(Parameters, 16));
        update.UpdateChunk(new float[Parameters], 1);
        Assert.Throws<InvalidOperationException>(update.Commit);
    }

    private static void AssertSame(Optimizer expected, Optimizer actual)
    {
        foreach ((OptimizerVector one, OptimizerVector other) in expected.Vectors.Zip(actual.Vectors))
            Assert.Equal(one.Values.ToArray(), other.Values.ToArray());
    }
}
