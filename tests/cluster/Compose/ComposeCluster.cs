using System.Net;
using System.Net.Http.Json;
using System.Text.Json;

namespace Distributed.Tests.Cluster.Compose;

/// <summary>
/// One cluster under a name of its own, started as the README says. Whatever a test does, its containers, networks and
/// volumes are gone when it is disposed.
/// </summary>
internal sealed class ComposeCluster : IAsyncDisposable
{
    // Containers start slowly on a busy machine.
    private static readonly TimeSpan Deadline = TimeSpan.FromMinutes(4);

    private readonly string _folder = Directory.CreateTempSubdirectory("compose-test-").FullName;
    private readonly Dictionary<string, string> _environment;
    private readonly HttpClient _http = new() { Timeout = TimeSpan.FromSeconds(10) };

    public ComposeCluster(string mnistDirectory)
    {
        string token = Path.Combine(_folder, "join_token");
        File.WriteAllText(token, Convert.ToHexString(System.Security.Cryptography.RandomNumberGenerator.GetBytes(16)));
        // The worker's user, who is not the test's, must be able to read it.
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(token, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        _environment = new Dictionary<string, string>
        {
            ["COORDINATOR_IMAGE"] = DockerEngine.CoordinatorImage,
            ["WORKER_IMAGE"] = DockerEngine.WorkerImage,
            ["JOIN_TOKEN_FILE"] = token,
            ["MNIST_DIR"] = mnistDirectory,
            ["STATUS_PORT"] = "0",
            ["TRAIN__LINGER"] = "300",
        };
    }

    public string Name { get; } = $"training-test-{Guid.NewGuid():N}"[..24];

    public string TokenFile => _environment["JOIN_TOKEN_FILE"];

    /// <summary>Sets a variable of the Compose file for what is started from now on.</summary>
    public void Set(string variable, string value) => _environment[variable] = value;

    public Task UpAsync(int workers) => ComposeAsync("up", "--detach", "--no-build", "--scale", $"worker={workers}");

    /// <summary>Scales without touching what runs.</summary>
    public Task ScaleAsync(int workers) => ComposeAsync("up", "--detach", "--no-build", "--no-recreate", "--scale", $"worker={workers}");

    public Task<string> ComposeAsync(params IEnumerable<string> arguments) =>
        DockerEngine.RunAsync(_environment, ["compose", "--file", ComposeFiles.Cluster, "--project-name", Name, .. arguments]);

    /// <summary>The ids of a service's containers, running or not.</summary>
    public async Task<string[]> ContainersAsync(string service) =>
        (await ComposeAsync("ps", "--all", "--quiet", service)).Split('\n', StringSplitOptions.RemoveEmptyEntries);

    public async Task<string> CoordinatorAsync() => Assert.Single(await ContainersAsync("coordinator"));

    /// <summary>A field of a container's state, by Docker's own template.</summary>
    public static Task<string> InspectAsync(string container, string template) => DockerEngine.RunAsync("inspect", "--format", template, container);

    /// <summary>Reads /status on the host's port until it fits.</summary>
    public async Task<JsonElement> StatusAsync(Func<JsonElement, bool> fits)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(Deadline);
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(200));
        string last = "nothing";
        while (true)
        {
            try
            {
                // A restarted container has another port.
                string address = await ComposeAsync("port", "coordinator", "8080");
                Uri status = new($"http://127.0.0.1:{IPEndPoint.Parse(address.Split('\n')[0]).Port}/status");
                JsonElement json = await _http.GetFromJsonAsync<JsonElement>(status, deadline.Token);
                last = json.GetRawText();
                if (fits(json))
                    return json;
            }
            catch (Exception exception) when (exception is HttpRequestException or FormatException or Xunit.Sdk.XunitException)
            {
                last = exception.Message;
            }
            catch (OperationCanceledException) when (!deadline.IsCancellationRequested)
            {
                last = "no answer within 10 s";
            }

            try
            {
                await looks.WaitForNextTickAsync(deadline.Token);
            }
            catch (OperationCanceledException)
            {
                Assert.Fail($"the status never became what was waited for; the last: {last}\n{await ComposeAsync("logs", "--tail", "40")}");
            }
        }
    }

    /// <summary>Waits for a container's end.</summary>
    public static async Task<int> ExitCodeAsync(string container) => int.Parse(await DockerEngine.RunAsync("wait", container), null);

    public async ValueTask DisposeAsync()
    {
        await ComposeAsync("down", "--volumes", "--remove-orphans", "--timeout", "0");
        _http.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}
