using System.Runtime.InteropServices;
using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Training;
using Distributed.Reduction;
using Distributed.Tests.Checkpoints;

namespace Distributed.Tests;

/// <summary>Runs with bfloat16 on the wire, of workers without processes.</summary>
public sealed class WirePrecisionTests : IDisposable
{
    private readonly CheckpointedRun _runs = new();

    private RunOptions Rounded => _runs.Options with { CheckpointDirectory = null, Wire = WirePrecision.Bf16 };

    [Fact]
    public async Task Run_WithAnyNumberOfWorkers_GivesTheSameBits()
    {
        RunResult expected = await _runs.RunAsync(Rounded with { Workers = 1 });
        Assert.True(Bfloat16.FindOther(expected.Weights) >= 0, "the weights that are kept are rounded");
        foreach (int workers in new[] { 2, 3, 5, 8 })
            Assert.Equal(expected.WeightsSha256, (await _runs.RunAsync(Rounded with { Workers = workers })).WeightsSha256);
        Assert.NotEqual(expected.WeightsSha256, (await _runs.RunAsync(Rounded with { Wire = WirePrecision.Float32 })).WeightsSha256);
    }

    [Fact]
    public async Task Run_ResumedAtAnyStep_EndsWithTheSameBits()
    {
        RunResult expected = await _runs.RunAsync(Rounded);
        RunOptions kept = Rounded with { CheckpointDirectory = _runs.Directory };
        for (int step = 1; step < 12; step++)
        {
            Directory.Delete(_runs.Directory, recursive: true);
            await _runs.RunAsync(kept with { MaxSteps = step });
            Assert.Equal(expected.WeightsSha256, (await _runs.RunAsync(kept with { Resume = true, Workers = 3 })).WeightsSha256);
        }
    }

    [Fact]
    public async Task Resume_WithAnotherWire_IsRefused()
    {
        await _runs.RunAsync(_runs.Options with { MaxSteps = 2 });
        ConfigurationException refusal = await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync(_runs.Options with { Resume = true, Wire = WirePrecision.Bf16 }));
        Assert.Contains("--wire is float32 there, bf16 here", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Checkpoint_FromBeforeTheOption_IsFloat32()
    {
        Assert.Empty(CheckpointSettings.Differences(new Dictionary<string, string>(), new Dictionary<string, string> { ["--wire"] = "float32" }));
        Assert.Equal(
            "--wire is float32 there, bf16 here",
            CheckpointSettings.Differences(new Dictionary<string, string>(), new Dictionary<string, string> { ["--wire"] = "bf16" }));
    }

    [Fact]
    public async Task Weights_OfAStepAreRounded_OfAnEvaluationAreNot()
    {
        List<(bool IsStep, bool IsRounded)> seen = [];
        await _runs.RunAsync(Rounded, (workers, _) => workers[0].OnWeights = (isStep, weights) => seen.Add((isStep, Bfloat16.FindOther(weights.Values) < 0)));
        Assert.Contains(seen, static order => order.IsStep);
        Assert.Contains(seen, static order => !order.IsStep);
        Assert.All(seen, static order => Assert.Equal(order.IsStep, order.IsRounded));
    }

    [Theory]
    [InlineData(WirePrecision.Bf16, WirePrecision.Float32, "as float32, not bf16")]
    [InlineData(WirePrecision.Float32, WirePrecision.Bf16, "as bf16, not float32")]
    public async Task Partial_ThatCameAsSomethingElse_IsRefusedAndComputedElsewhere(WirePrecision wire, WirePrecision sent, string named)
    {
        RunOptions options = Rounded with { Wire = wire };
        RunResult expected = await _runs.RunAsync(options);
        await AssertRefusedAsync(options, expected, named, answer => answer with { Wire = sent });
    }

    [Fact]
    public async Task Partial_InSharedMemoryThatIsNotRounded_IsRefusedAndComputedElsewhere()
    {
        RunResult expected = await _runs.RunAsync(Rounded);
        // Rounded, it is as good as one that came over the network.
        RunResult near = await _runs.RunAsync(Rounded, static (workers, _) => workers[0].OnAnswer = static answer => [answer with { Wire = null }]);
        Assert.Equal(expected.WeightsSha256, near.WeightsSha256);
        await AssertRefusedAsync(Rounded, expected, "the gradient of dense_1/bias is not rounded to bf16", static answer =>
        {
            byte[] gradient = answer.Gradient.ToArray();
            MemoryMarshal.Cast<byte, float>(gradient.AsSpan())[^1] = 0.1f;
            return answer with { Wire = null, Gradient = gradient };
        });
    }

    public void Dispose() => _runs.Dispose();

    /// <summary>A worker that sends one bad partial, which must not change the result.</summary>
    private async Task AssertRefusedAsync(RunOptions options, RunResult expected, string named, Func<PartialArrived, PartialArrived> spoil)
    {
        FakeWorker? bad = null;
        RunResult actual = await _runs.RunAsync(options, (workers, _) =>
        {
            bad = workers[1];
            bad.OnAnswer = answer => [answer.Order is { Epoch: 0, Step: 1 } ? spoil(answer) : answer];
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains(named, bad!.CloseReason, StringComparison.Ordinal);
        Assert.Contains(_runs.Journal.Latest(), entry => entry.Kind == JournalKind.RefusedPartial && entry.Text.Contains(named, StringComparison.Ordinal));
    }
}
