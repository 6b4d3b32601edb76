using System.Runtime.InteropServices;

[assembly: AssemblyFixture(typeof(Distributed.Tests.Cluster.Compose.DockerEngine))]

namespace Distributed.Tests.Cluster.Compose;

/// <summary>The machine's Docker Engine, if there is one that builds and runs Linux containers, and the images of this build in it.</summary>
public sealed class DockerEngine : IAsyncDisposable
{
    // A first build restores every package.
    private static readonly TimeSpan BuildDeadline = TimeSpan.FromMinutes(15);

    private readonly SemaphoreSlim _building = new(1);
    private string? _missing;
    private bool _isReady;

    public const string CoordinatorImage = "distributed-coordinator:test";
    public const string WorkerImage = "distributed-worker:test";

    /// <summary>Builds both images, once; skips the test, visibly, where there is no engine.</summary>
    public async Task RequireAsync()
    {
        await _building.WaitAsync(TestContext.Current.CancellationToken);
        try
        {
            if (!_isReady && _missing is null)
                await PrepareAsync();
        }
        finally
        {
            _building.Release();
        }

        Assert.SkipUnless(_missing is null, _missing ?? "");
    }

    /// <summary>Runs docker to its end.</summary>
    /// <returns>What it printed, without the last line end.</returns>
    public static async Task<string> RunAsync(params IEnumerable<string> arguments) => await RunAsync(new Dictionary<string, string>(), arguments);

    public static async Task<string> RunAsync(IReadOnlyDictionary<string, string> environment, params IEnumerable<string> arguments)
    {
        await using ProgramRun docker = ProgramRun.Start("docker", environment, arguments);
        await docker.SucceedAsync();
        return docker.Output.TrimEnd();
    }

    public ValueTask DisposeAsync()
    {
        _building.Dispose();
        return ValueTask.CompletedTask;
    }

    private async Task PrepareAsync()
    {
        if (!RuntimeInformation.IsOSPlatform(OSPlatform.Linux) || !await AnswersAsync("info") || !await AnswersAsync("compose", "version"))
        {
            _missing = "needs a running Docker Engine with Compose v2 (on Linux)";
            return;
        }

        foreach ((string target, string image) in new[] { ("worker", WorkerImage), ("coordinator", CoordinatorImage) })
        {
            await using ProgramRun build = ProgramRun.Start(
                "docker", "build", "--file", ComposeFiles.PathOf("Dockerfile"), "--target", target, "--tag", image, ComposeFiles.PathOf(".."));
            await build.SucceedAsync(BuildDeadline);
        }

        _isReady = true;
    }

    private static async Task<bool> AnswersAsync(params string[] arguments)
    {
        try
        {
            await using ProgramRun docker = ProgramRun.Start("docker", arguments);
            return await docker.ExitAsync() == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }
}
