using System.Globalization;
using System.Text.Json;

namespace Distributed.Tests.Cluster.Compose;

/// <summary>The cluster of containers on a real engine, started as the README says.</summary>
[Collection("compose")]
public sealed class ClusterTests(DockerEngine engine)
{
    [Fact]
    public async Task Cluster_OfThreeWorkers_TrainsAnEpochToSingleMachineModesWeights()
    {
        await engine.RequireAsync();
        await using ComposeCluster cluster = new(await MnistFiles.DirectoryAsync());
        cluster.Set("TRAIN__EPOCHS", "1");
        cluster.Set("TRAIN__MIN_WORKERS", "3");
        await cluster.UpAsync(workers: 3);
        JsonElement status = await cluster.StatusAsync(static status => State(status) is "completed" or "failed");
        Assert.Equal("completed", State(status));
        Assert.Equal(await SingleMachineAsync("--epochs", "1"), status.GetProperty("weights_sha256").GetString());

        foreach (string container in (string[])[await cluster.CoordinatorAsync(), .. await cluster.ContainersAsync("worker")])
            await AssertHardenedAsync(container);
        // The status page and nothing else can be reached from outside.
        Assert.Equal("8080/tcp", await ComposeCluster.InspectAsync(await cluster.CoordinatorAsync(), "{{range $port, $host := .NetworkSettings.Ports}}{{if $host}}{{$port}}{{end}}{{end}}"));
        foreach (string worker in await cluster.ContainersAsync("worker"))
            Assert.Equal("", await ComposeCluster.InspectAsync(worker, "{{range $port, $host := .NetworkSettings.Ports}}{{if $host}}{{$port}}{{end}}{{end}}"));
    }

    [Fact]
    public async Task Cluster_KilledScaledTakenDownAndUpAgain_EndsWithTheSameWeights()
    {
        await engine.RequireAsync();
        await using ComposeCluster cluster = new(await MnistFiles.DirectoryAsync());
        // Slow workers, so that the run is still going when the last disturbance is over.
        cluster.Set("WORKER_CPUS", "0.25");
        cluster.Set("TRAIN__EPOCHS", "50");
        cluster.Set("TRAIN__CHECKPOINT_EVERY", "50");
        await cluster.UpAsync(workers: 3);
        await cluster.StatusAsync(static status => Step(status) > 5 && Workers(status) == 3);

        await DockerEngine.RunAsync("kill", (await cluster.ContainersAsync("worker"))[0]);
        await cluster.StatusAsync(static status => Workers(status) == 2);
        await cluster.ScaleAsync(5);
        await cluster.StatusAsync(static status => Workers(status) == 5);
        await cluster.ScaleAsync(2);
        await cluster.StatusAsync(static status => Workers(status) == 2);
        await CrashAsync(cluster, await cluster.CoordinatorAsync());
        await cluster.StatusAsync(static status => State(status) == "training" && Workers(status) == 2);

        // Down and up again, with an end some steps after the checkpoint.
        await cluster.ComposeAsync("stop", "coordinator");
        string stopped = await cluster.CoordinatorAsync();
        Assert.Equal("143", await ComposeCluster.InspectAsync(stopped, "{{.State.ExitCode}}"));
        Assert.Contains("--resume", await LogsAsync(stopped), StringComparison.Ordinal);
        await cluster.ComposeAsync("down");
        await cluster.UpAsync(workers: 1);
        JsonElement resumed = await cluster.StatusAsync(static status => Step(status) > 0 && State(status) == "training");
        await cluster.ComposeAsync("down");
        // Past where it can have come until it was down; the last sitting has all processors.
        int end = TotalSteps(resumed) + 2000;
        cluster.Set("TRAIN__MAX_STEPS", end.ToString(CultureInfo.InvariantCulture));
        cluster.Set("TRAIN__LINGER", "");
        cluster.Set("WORKER_CPUS", "0");
        await cluster.UpAsync(workers: 2);
        string coordinator = await cluster.CoordinatorAsync();
        Assert.Equal(0, await ComposeCluster.ExitCodeAsync(coordinator));
        string sha = await SingleMachineAsync("--epochs", "50", "--max-steps", end.ToString(CultureInfo.InvariantCulture));
        Assert.Contains(sha, await LogsAsync(coordinator), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Worker_OfHalfACpu_ComputesOnOneThreadAndGetsFewerShards()
    {
        await engine.RequireAsync();
        await using ComposeCluster cluster = new(await MnistFiles.DirectoryAsync());
        cluster.Set("TRAIN__EPOCHS", "50");
        cluster.Set("TRAIN__MIN_WORKERS", "2");
        await cluster.UpAsync(workers: 1);
        string slow = await DockerEngine.RunAsync(
            "run", "--detach", "--cpus", "0.5", "--network", $"{cluster.Name}_training", "--volume", $"{cluster.TokenFile}:/run/secrets/join_token:ro",
            DockerEngine.WorkerImage, "--coordinator=http://coordinator:5000", "--token-file=/run/secrets/join_token", "--name=half");
        try
        {
            JsonElement status = await cluster.StatusAsync(static status =>
                Workers(status) == 2 && Worker(status, "half") is { ValueKind: JsonValueKind.Object } half && Shards(half) is > 0 and < 4);
            Assert.Equal(1, Worker(status, "half").GetProperty("threads").GetInt32());
        }
        finally
        {
            await DockerEngine.RunAsync("rm", "--force", slow);
        }
    }

    /// <summary>A crash as Docker sees it: `docker kill` counts as the user's will, and is not restarted.</summary>
    private static async Task CrashAsync(ComposeCluster cluster, string container)
    {
        ProgramRun.Kill(int.Parse(await ComposeCluster.InspectAsync(container, "{{.State.Pid}}"), null));
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(ProgramRun.Deadline);
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(100));
        while (await ComposeCluster.InspectAsync(container, "{{.RestartCount}} {{.State.Running}}") is not [not '0', .., ' ', 't', 'r', 'u', 'e'])
            await looks.WaitForNextTickAsync(deadline.Token);
        Assert.Equal(container, await cluster.CoordinatorAsync());
    }

    private static async Task AssertHardenedAsync(string container)
    {
        Assert.Equal("1654", await ComposeCluster.InspectAsync(container, "{{.Config.User}}"));
        Assert.Equal("true", await ComposeCluster.InspectAsync(container, "{{.HostConfig.ReadonlyRootfs}}"));
        Assert.Equal("[ALL] []", await ComposeCluster.InspectAsync(container, "{{.HostConfig.CapDrop}} {{.HostConfig.CapAdd}}"));
        Assert.Equal("false", await ComposeCluster.InspectAsync(container, "{{.HostConfig.Privileged}}"));
        Assert.Contains("no-new-privileges:true", await ComposeCluster.InspectAsync(container, "{{.HostConfig.SecurityOpt}}"), StringComparison.Ordinal);
    }

    private static async Task<string> SingleMachineAsync(params string[] options)
    {
        using TrainingRun files = new();
        await using ProgramRun run = await files.TrainAsync(null, options);
        return files.WeightsSha256;
    }

    /// <summary>Both streams of a container's log.</summary>
    private static async Task<string> LogsAsync(string container)
    {
        await using ProgramRun logs = ProgramRun.Start("docker", "logs", container);
        await logs.SucceedAsync();
        return logs.Output + logs.Errors;
    }

    private static string? State(JsonElement status) => status.GetProperty("state").GetString();

    private static int Step(JsonElement status) => status.GetProperty("step").GetInt32();

    /// <summary>Steps done since the run's beginning.</summary>
    private static int TotalSteps(JsonElement status) =>
        ((status.GetProperty("epoch").GetInt32() - 1) * status.GetProperty("steps_per_epoch").GetInt32()) + Step(status);

    private static int Workers(JsonElement status) =>
        status.GetProperty("workers").EnumerateArray().Count(static worker => worker.GetProperty("state").GetString() is not ("lost" or "left"));

    private static JsonElement Worker(JsonElement status, string name) =>
        status.GetProperty("workers").EnumerateArray().FirstOrDefault(worker => worker.GetProperty("name").GetString() == name);

    private static int Shards(JsonElement worker) => worker.GetProperty("shards").GetArrayLength();
}
