using System.Globalization;

namespace Distributed.Tests.Cluster.Compose;

/// <summary>The same file on a swarm, here of one node.</summary>
[Collection("compose")]
public sealed class SwarmTests(DockerEngine engine)
{
    [Fact]
    public async Task Stack_DeployedFromTheComposeFile_TrainsToTheEnd()
    {
        await engine.RequireAsync();
        Assert.SkipUnless(
            await DockerEngine.RunAsync("info", "--format", "{{.Swarm.LocalNodeState}}") == "inactive", "this engine is part of a swarm already");
        string folder = Directory.CreateTempSubdirectory("swarm-test-").FullName;
        string stack = $"training-test-{Guid.NewGuid():N}"[..24];
        string token = Path.Combine(folder, "join_token");
        await File.WriteAllTextAsync(token, "of the swarm", TestContext.Current.CancellationToken);
        Dictionary<string, string> environment = new()
        {
            ["COORDINATOR_IMAGE"] = DockerEngine.CoordinatorImage,
            ["WORKER_IMAGE"] = DockerEngine.WorkerImage,
            ["JOIN_TOKEN_FILE"] = token,
            ["MNIST_DIR"] = await MnistFiles.DirectoryAsync(),
            ["STATUS_PORT"] = FreePort().ToString(CultureInfo.InvariantCulture),
            ["WORKERS"] = "2",
            ["TRAIN__MIN_WORKERS"] = "2",
            ["TRAIN__MAX_STEPS"] = "100",
        };
        await DockerEngine.RunAsync("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1");
        try
        {
            await DockerEngine.RunAsync(environment, "stack", "deploy", "--detach=true", "--compose-file", ComposeFiles.Cluster, stack);
            using TrainingRun files = new();
            await using ProgramRun reference = await files.TrainAsync(null, "--max-steps", "100");
            await CompletedAsync($"{stack}_coordinator", files.WeightsSha256);
        }
        finally
        {
            await DockerEngine.RunAsync("swarm", "leave", "--force");
            await RemoveVolumesAsync(stack);
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task CompletedAsync(string service, string sha256)
    {
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(500));
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(TimeSpan.FromMinutes(4));
        while (!(await DockerEngine.RunAsync("service", "ps", service, "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}")).Contains("Complete", StringComparison.Ordinal))
        {
            try
            {
                await looks.WaitForNextTickAsync(deadline.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Fail(await DockerEngine.RunAsync("service", "ps", service, "--no-trunc"));
            }
        }

        await using ProgramRun logs = ProgramRun.Start("docker", "service", "logs", service);
        await logs.SucceedAsync();
        Assert.Contains(sha256, logs.Output + logs.Errors, StringComparison.Ordinal);
    }

    /// <summary>A stack's volumes outlive it, and its containers go a little after it.</summary>
    private static async Task RemoveVolumesAsync(string stack)
    {
        using CancellationTokenSource deadline = new(TimeSpan.FromMinutes(2));
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(500));
        while (await DockerEngine.RunAsync("volume", "ls", "--quiet", "--filter", $"name={stack}_") is { Length: > 0 } volumes)
        {
            await using (ProgramRun remove = ProgramRun.Start("docker", ["volume", "rm", .. volumes.Split('\n')]))
                await remove.ExitAsync();
            await looks.WaitForNextTickAsync(deadline.Token);
        }
    }

    private static int FreePort()
    {
        using System.Net.Sockets.TcpListener listener = new(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        return ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
    }
}
