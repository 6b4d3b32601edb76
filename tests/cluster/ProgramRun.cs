using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Distributed.Exchange;

namespace Distributed.Tests.Cluster;

/// <summary>
/// One of the two programs as a real process, as users start it. Whatever a test does, the process and all it started
/// are gone when it is disposed.
/// </summary>
internal sealed partial class ProgramRun : IAsyncDisposable
{
    /// <summary>No run here takes a tenth of it: what ends a test that hangs.</summary>
    public static readonly TimeSpan Deadline = TimeSpan.FromMinutes(3);

    private const string MemoryVariable = "DISTRIBUTED_SHARED_MEMORY_DIR";

    // What coordinators that are killed leave behind, as they must, goes with this process.
    private static readonly string? s_memory = CreateMemoryFolder();

    private readonly Process _process;
    private readonly StringBuilder _output = new(), _errors = new();
    private readonly ConcurrentDictionary<TaskCompletionSource<string>, Func<string, bool>> _awaited = new();

    private ProgramRun(string file, IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? environment)
    {
        ProcessStartInfo start = new(file, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };
        if (s_memory is not null)
            start.Environment[MemoryVariable] = s_memory;
        foreach ((string name, string value) in environment ?? new Dictionary<string, string>())
            start.Environment[name] = value;
        _process = new Process { StartInfo = start, EnableRaisingEvents = true };
        _process.OutputDataReceived += (_, line) => Take(_output, line.Data);
        _process.ErrorDataReceived += (_, line) => Take(_errors, line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public int Id => _process.Id;

    public string Output => Read(_output);

    public string Errors => Read(_errors);

    public static string ProgramDirectory { get; } =
        typeof(ProgramRun).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(static item => item.Key == "Programs").Value!;

    public static string CoordinatorPath => Path.Combine(ProgramDirectory, "coordinator");

    public static string WorkerPath => Path.Combine(ProgramDirectory, "worker", "worker");

    public static ProgramRun Coordinator(params IEnumerable<string> arguments) => new(CoordinatorPath, arguments, null);

    public static ProgramRun Coordinator(IReadOnlyDictionary<string, string> environment, params IEnumerable<string> arguments) =>
        new(CoordinatorPath, arguments, environment);

    public static ProgramRun Worker(params IEnumerable<string> arguments) => new(WorkerPath, arguments, null);

    public static ProgramRun Worker(IReadOnlyDictionary<string, string> environment, params IEnumerable<string> arguments) =>
        new(WorkerPath, arguments, environment);

    public static ProgramRun Start(string file, params IEnumerable<string> arguments) => new(file, arguments, null);

    public static ProgramRun Start(string file, IReadOnlyDictionary<string, string> environment, params IEnumerable<string> arguments) =>
        new(file, arguments, environment);

    /// <summary>The exit code, once the process has ended and all it printed is here.</summary>
    /// <param name="within">What ends a test that hangs; by default <see cref="Deadline"/>.</param>
    public async Task<int> ExitAsync(TimeSpan? within = null)
    {
        TimeSpan allowed = within ?? Deadline;
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(allowed);
        try
        {
            await _process.WaitForExitAsync(deadline.Token);
        }
        catch (OperationCanceledException)
        {
            Assert.Fail($"still running after {allowed}:\n{Output}\n{Errors}");
        }

        return _process.ExitCode;
    }

    /// <summary>Waits for the end and asserts that it went well.</summary>
    public async Task SucceedAsync(TimeSpan? within = null)
    {
        int code = await ExitAsync(within);
        Assert.True(code == 0, $"exit code {code}\n{Output}\n{Errors}");
    }

    /// <summary>The first line, on either stream, that fits; fails if the process ends without one.</summary>
    public async Task<string> LineAsync(Func<string, bool> fits)
    {
        TaskCompletionSource<string> found = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _awaited[found] = fits;
        foreach (string line in (Output + Errors).Split('\n'))
            Offer(line);
        Task ended = _process.WaitForExitAsync(TestContext.Current.CancellationToken);
        await Task.WhenAny(found.Task, ended).WaitAsync(Deadline, TestContext.Current.CancellationToken);
        Assert.True(found.Task.IsCompleted, $"ended without the line:\n{Output}\n{Errors}");
        return await found.Task;
    }

    /// <summary>Where a coordinator that waits for workers from elsewhere says that it listens, as a URL.</summary>
    public async Task<string> AddressAsync()
    {
        string line = await LineAsync(static line => line.StartsWith("waiting for ", StringComparison.Ordinal));
        return $"http://{line[(line.LastIndexOf(' ') + 1)..]}";
    }

    /// <summary>Waits until so many lines with this text have come.</summary>
    public async Task LinesAsync(string text, int count)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(Deadline);
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(20));
        while ((Output + Errors).Split('\n').Count(line => line.Contains(text, StringComparison.Ordinal)) < count)
            await looks.WaitForNextTickAsync(deadline.Token);
    }

    public bool IsRunning => !_process.HasExited;

    /// <summary>Sends a signal to a process that may have ended by itself meanwhile; whether it was still there.</summary>
    public bool TrySignal(PosixSignalNumber signal) => IsRunning && Kill(_process.Id, (int)signal) == 0;

    /// <summary>A port of the loopback address that was free just now.</summary>
    public static int FreePort()
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public void Signal(PosixSignalNumber signal) => Assert.Equal(0, Kill(_process.Id, (int)signal));

    /// <summary>Kills a process that a run has started.</summary>
    public static void Kill(int process) => Assert.Equal(0, Kill(process, (int)PosixSignalNumber.Kill));

    /// <summary>Sends a signal to a process that a run has started.</summary>
    public static void Signal(int process, PosixSignalNumber signal) => Assert.Equal(0, Kill(process, (int)signal));

    /// <summary>Processes whose parent this one is, by id.</summary>
    public IReadOnlyList<int> Children() => Processes.Where(stat => stat.Parent == _process.Id).Select(static stat => stat.Id).ToList();

    /// <summary>Waits until none of the processes is left (a zombie does not count).</summary>
    public static async Task GoneAsync(IEnumerable<int> ids)
    {
        HashSet<int> watched = [.. ids];
        Stopwatch elapsed = Stopwatch.StartNew();
        // Strangers' ends raise no event: look often.
        using PeriodicTimer looks = new(TimeSpan.FromMilliseconds(20));
        while (Processes.Where(static stat => stat.State != 'Z').Any(stat => watched.Contains(stat.Id)))
        {
            Assert.True(elapsed.Elapsed < TimeSpan.FromSeconds(30), "processes are left over");
            await looks.WaitForNextTickAsync(TestContext.Current.CancellationToken);
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            await _process.WaitForExitAsync(CancellationToken.None);
        }

        _process.Dispose();
    }

    private static IEnumerable<(int Id, int Parent, char State)> Processes
    {
        get
        {
            foreach (string directory in Directory.EnumerateDirectories("/proc"))
            {
                if (!int.TryParse(Path.GetFileName(directory), out int id))
                    continue;
                string stat;
                try
                {
                    stat = File.ReadAllText(Path.Combine(directory, "stat"));
                }
                catch (IOException)
                {
                    continue;
                }

                string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
                yield return (id, int.Parse(fields[1], null), fields[0][0]);
            }
        }
    }

    private static string? CreateMemoryFolder()
    {
        if (SharedSegment.Folder() is not { } shared)
            return null;
        string folder = Directory.CreateDirectory(Path.Combine(shared, $"program-runs-{Guid.NewGuid():N}")).FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        return folder;
    }

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int Kill(int process, int signal);

    private static string Read(StringBuilder text)
    {
        lock (text)
            return text.ToString();
    }

    private void Take(StringBuilder text, string? line)
    {
        if (line is null)
            return;
        lock (text)
            text.Append(line).Append('\n');
        Offer(line);
    }

    private void Offer(string line)
    {
        foreach ((TaskCompletionSource<string> found, Func<string, bool> fits) in _awaited)
        {
            if (fits(line))
                found.TrySetResult(line);
        }
    }
}

/// <summary>POSIX signals by number.</summary>
internal enum PosixSignalNumber
{
    Interrupt = 2,
    Kill = 9,
    Terminate = 15,
    Continue = 18,
    Stop = 19,
}
