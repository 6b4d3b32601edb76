using System.Text.Json;
using System.Text.RegularExpressions;
using Distributed.Models;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>What a run prints and writes.</summary>
public sealed partial class OutputTests
{
    [Fact]
    public async Task Train_IntoAPipe_PrintsOneKerasLineAnEpoch()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, Options(data, files, "--epochs", "3"));
        Assert.DoesNotContain('\u001b', run.Output);
        Assert.DoesNotContain('\r', run.Output);
        Assert.Equal(3, run.Output.Split('\n').Count(static line => KerasLine().IsMatch(line)));
    }

    [Fact]
    public async Task Train_AtATerminal_ShowsALiveBar()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/script"), "needs script(1) for a terminal");
        using TinyDataset data = new();
        using TrainingRun files = new();
        string command = string.Join(' ', [ProgramRun.CoordinatorPath, "train", "--out", files.Out, .. Options(data, files, "--epochs", "2")]);
        await using ProgramRun run = ProgramRun.Start("/usr/bin/script", "-qefc", command, "/dev/null");
        await run.SucceedAsync();
        Assert.Contains('\u001b', run.Output);
        Assert.Contains("Epoch 2/2", run.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Train_ToTheEnd_WritesRunAndWeightsThatAgree()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, Options(data, files, "--epochs", "3"));
        JsonElement json = files.Json;
        JsonElement[] epochs = [.. json.GetProperty("epochs").EnumerateArray()];
        Assert.Equal([1, 2, 3], epochs.Select(static epoch => epoch.GetProperty("epoch").GetInt32()));
        foreach (string name in new[] { "seconds", "images_per_second", "loss", "accuracy", "test_loss", "test_accuracy" })
            Assert.All(epochs, epoch => Assert.True(double.IsFinite(epoch.GetProperty(name).GetDouble())));
        foreach (string name in new[] { "test_loss", "test_accuracy", "weights_sha256" })
            Assert.Equal(epochs[^1].GetProperty(name).ToString(), json.GetProperty(name).ToString());
        Assert.Equal(2, json.GetProperty("workers").GetInt32());
        Assert.Equal(JsonValueKind.Number, json.GetProperty("leases_moved").ValueKind);
        Assert.True(json.GetProperty("seconds").GetDouble() > 0);
        Assert.Equal(JsonValueKind.Object, json.GetProperty("phases").ValueKind);

        WeightsFile weights = WeightsFile.Read(files.Weights);
        Assert.Equal(files.WeightsSha256, WeightsHash.Sha256(weights.Parameters));
        await using ProgramRun evaluation = ProgramRun.Coordinator("evaluate", "--weights", files.Weights);
        await evaluation.SucceedAsync();
        Assert.Contains($"accuracy: {json.GetProperty("test_accuracy").GetDouble():0.0000}", evaluation.Output, StringComparison.Ordinal);
        Assert.Contains($"loss: {json.GetProperty("test_loss").GetDouble():0.0000}", evaluation.Output, StringComparison.Ordinal);
        await using ProgramRun prediction = ProgramRun.Coordinator("predict", "--weights", files.Weights, "idx:0");
        await prediction.SucceedAsync();
    }

    [Fact]
    public async Task Train_NoSteps_WritesTheInitialWeights()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, Options(data, files, "--max-steps", "0", "--seed", "5"));
        WeightsFile weights = WeightsFile.Read(files.Weights);
        Assert.Equal(ParameterInitializer.Create(weights.Model, 5), weights.Parameters);
        Assert.Equal(WeightsHash.Sha256(weights.Parameters), files.WeightsSha256);
    }

    [Fact]
    public async Task Train_StepsThatEndWithinAnEpoch_AreAPartialLastEntry()
    {
        using TinyDataset data = new();
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, Options(data, files, "--max-steps", "8"));
        JsonElement[] epochs = [.. files.Json.GetProperty("epochs").EnumerateArray()];
        Assert.Equal([1, 2], epochs.Select(static epoch => epoch.GetProperty("epoch").GetInt32()));
        Assert.Equal(files.WeightsSha256, epochs[1].GetProperty("weights_sha256").GetString());
    }

    [Fact]
    public async Task Train_OneEpochOfMnist_LearnsTheDigits()
    {
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, "--epochs", "1");
        Assert.True(files.Json.GetProperty("test_accuracy").GetDouble() > 0.97, run.Output);
    }

    private static string[] Options(TinyDataset data, TrainingRun files, params string[] more) =>
        ["--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--workers", "2", "--threads", "1", .. more];

    [GeneratedRegex(@"^\d+/\d+ - \d+[mu]?s - \d+[mu]?s/step - accuracy: \d\.\d{4} - loss: \d+\.\d{4} - val_accuracy: \d\.\d{4} - val_loss: \d+\.\d{4}$")]
    private static partial Regex KerasLine();
}
