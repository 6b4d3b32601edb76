using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Terminal;
using Distributed.Coordinator.Training;

namespace Distributed.Tests;

public sealed class RunOptionsTests
{
    public static TheoryData<string> Bad => [.. s_bad.Keys];

    private static readonly Dictionary<string, RunOptions> s_bad = new()
    {
        ["--workers"] = new() { Workers = -1 },
        ["--threads"] = new() { Threads = 0 },
        ["--epochs"] = new() { Epochs = 0 },
        ["--batch-size"] = new() { BatchSize = 60 },
        ["--shards"] = new() { Shards = 0 },
        ["--max-steps"] = new() { MaxSteps = -1 },
        ["--min-workers"] = new() { MinWorkers = 3 },
        ["--max-restarts"] = new() { MaxRestarts = -1 },
        ["--worker-timeout"] = new() { WorkerTimeout = TimeSpan.Zero },
        ["--heartbeat-interval"] = new() { HeartbeatInterval = TimeSpan.Zero },
        ["--heartbeat-timeout"] = new() { HeartbeatTimeout = TimeSpan.FromSeconds(1.4) },
        ["--checkpoint-every"] = new() { CheckpointEvery = -1 },
        ["--resume"] = new() { Resume = true },
        ["--checkpoint-dir"] = new() { CheckpointDirectory = " " },
        ["--listen"] = new() { Listen = "nowhere" },
        ["--learning-rate"] = new() { Optimizer = new RunOptions().Optimizer with { LearningRate = 0 } },
    };

    [Fact]
    public void Options_ByDefault_AreValid() => new RunOptions().Validate();

    [Theory]
    [MemberData(nameof(Bad))]
    public void Options_OutOfRange_AreRefusedByName(string option) =>
        Assert.StartsWith(option, Assert.Throws<ConfigurationException>(s_bad[option].Validate).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("127.0.0.1:80", "127.0.0.1:80")]
    [InlineData("localhost:0", "127.0.0.1:0")]
    [InlineData("[::1]:65535", "[::1]:65535")]
    [InlineData("*:5000", "[::]:5000")]
    public void Listen_WithHostAndPort_IsResolved(string text, string expected) =>
        Assert.Equal(expected, ListenAddress.Parse("--listen", text).EndPoint.ToString());

    [Theory]
    [InlineData("5000")]
    [InlineData(":5000")]
    [InlineData("127.0.0.1:65536")]
    [InlineData("127.0.0.1:-1")]
    [InlineData("127.0.0.1:")]
    public void Listen_WithoutHostAndPort_IsRefused(string text) =>
        Assert.Throws<ConfigurationException>(() => ListenAddress.Parse("--listen", text));

    [Theory]
    [InlineData(1.6, 938, "938/938 - 2s - 2ms/step - accuracy: 0.9440 - loss: 0.1766 - val_accuracy: 0.9712 - val_loss: 0.0912")]
    [InlineData(0.6, 938, "938/938 - 1s - 640us/step - accuracy: 0.9440 - loss: 0.1766 - val_accuracy: 0.9712 - val_loss: 0.0912")]
    [InlineData(20, 10, "10/938 - 20s - 2s/step - accuracy: 0.9440 - loss: 0.1766 - val_accuracy: 0.9712 - val_loss: 0.0912")]
    public void EpochLine_ForAnEpoch_IsKeras(double seconds, int steps, string expected) =>
        Assert.Equal(expected, KerasLine.Format(new EpochReport(1, steps, 938, 60_000, seconds, 0, 0.17661, 0.94401, 0.09121, 0.9712, "")));
}
