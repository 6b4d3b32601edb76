using System.Runtime.Intrinsics.X86;
using System.Text.Json;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>The promise: the weights depend on configuration and seed alone.</summary>
public sealed class GoldenTests
{
    private const int Steps = 300;

    /// <summary>Runtime switches that take instructions away from every process of a run, and what a worker then says it uses.</summary>
    public static TheoryData<string, string, bool> NarrowerProcessors { get; } = new()
    {
        { "DOTNET_EnableAVX512", "AVX2", Avx512F.IsSupported },
        { "DOTNET_EnableAVX2", "SSE", Avx2.IsSupported },
        { "DOTNET_EnableHWIntrinsic", "scalar", true },
    };

    [Fact]
    public async Task Weights_AfterManySteps_AreTheSameForAnyWorkersThreadsAndExchange()
    {
        string? expected = null;
        foreach ((int workers, int threads, string exchange) in new[]
        {
            (1, 1, "auto"), (1, 2, "auto"), (2, 1, "auto"), (2, 2, "auto"), (3, 1, "auto"), (5, 1, "auto"), (8, 1, "auto"),
            (2, 1, "grpc"), (1, 2, "grpc --chunk-kb 64"), (3, 1, "grpc --chunk-kb 64"), (2, 1, "grpc --chunk-kb 7"),
        })
        {
            string sha = await TrainAsync(null, ["--workers", $"{workers}", "--threads", $"{threads}", "--exchange", .. exchange.Split(' '), "--max-steps", $"{Steps}"]);
            expected ??= sha;
            Assert.True(expected == sha, $"{workers} workers of {threads} threads over {exchange} ended at {sha}, one at {expected}");
        }
    }

    [Fact]
    public async Task Weights_WithBfloat16OnTheWire_AreTheSameForAnyWorkersThreadsAndExchange()
    {
        string? expected = null;
        foreach ((int workers, int threads, string exchange) in new[] { (1, 1, "auto"), (1, 2, "grpc"), (2, 2, "auto"), (2, 1, "grpc"), (3, 1, "auto"), (3, 1, "grpc --chunk-kb 30") })
        {
            string sha = await TrainAsync(
                null, ["--wire", "bf16", "--exchange", .. exchange.Split(' '), "--workers", $"{workers}", "--threads", $"{threads}", "--max-steps", $"{Steps}"]);
            expected ??= sha;
            Assert.True(expected == sha, $"{workers} workers of {threads} threads over {exchange} ended at {sha}, one at {expected}");
        }
    }

    [Theory]
    [MemberData(nameof(NarrowerProcessors))]
    public async Task Weights_WithoutSomeInstructions_AreTheSame(string variable, string instructionSet, bool canBeSwitchedOff)
    {
        Dictionary<string, string> narrower = new() { [variable] = "0" };
        Assert.SkipUnless(canBeSwitchedOff, $"this processor has nothing that {variable} switches off");

        // Small, for without vectors a multiply-add is a call of the C library's: hundreds of times slower.
        using TinyDataset data = new(train: 96, test: 16, height: 28, width: 28);
        using TrainingRun files = new();
        await using (ProgramRun benchmark = ProgramRun.Worker(
            narrower, "benchmark", "--threads", "1", "--steps", "1", "--dataset", data.Directory, "--model", files.WriteSmallModel()))
        {
            await benchmark.SucceedAsync();
            JsonElement figures = JsonDocument.Parse(benchmark.Output.Trim().Split('\n')[^1]).RootElement;
            Assert.Equal(instructionSet, figures.GetProperty("instruction_set").GetString());
        }

        string[] options = ["--dataset", data.Directory, "--batch-size", "16", "--workers", "2", "--threads", "1", "--max-steps", "5"];
        foreach (string[] wire in (string[][])[[], ["--wire", "bf16", "--exchange", "grpc"]])
            Assert.Equal(await TrainAsync(null, [.. options, .. wire]), await TrainAsync(narrower, [.. options, .. wire]));
    }

    [Fact]
    public async Task Weights_OfUnevenShardsAndShortLastStep_AreTheSame()
    {
        // 203 samples in batches of 24 over 6 shards: the last step has 11, and V is no power of two.
        using TinyDataset data = new(train: 203, test: 37);
        using TrainingRun files = new();
        string model = files.WriteSmallModel();
        string? expected = null;
        foreach (int workers in new[] { 1, 2, 3, 4, 7 })
        {
            string sha = await TrainAsync(
                null, "--dataset", data.Directory, "--model", model, "--batch-size", "24", "--shards", "6", "--epochs", "3", "--workers", $"{workers}", "--threads", "1");
            expected ??= sha;
            Assert.Equal(expected, sha);
        }
    }

    [Fact]
    public async Task Weights_OfAnotherSeed_Differ()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        string[] options = ["--dataset", data.Directory, "--model", files.WriteSmallModel(), "--max-steps", "3", "--workers", "1"];
        Assert.NotEqual(await TrainAsync(null, [.. options, "--seed", "1"]), await TrainAsync(null, [.. options, "--seed", "2"]));
    }

    private static async Task<string> TrainAsync(IReadOnlyDictionary<string, string>? environment, params string[] options)
    {
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(environment, options);
        return files.WeightsSha256;
    }
}
