using System.ComponentModel;
using System.Diagnostics;
using Distributed.CommandLine;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Local;

/// <summary>
/// The worker processes of the single-machine mode. Each holds the read end of a pipe whose other end is here: should
/// this process die in whatever way, the system closes it and the workers end.
/// </summary>
/// <remarks>
/// Processes end whenever they like, several at once, and starting one waits for the runtime's bookkeeping of those that
/// end. So nothing that asks about a process, or starts one, runs under the lock: it guards the list alone.
/// </remarks>
internal sealed class LocalWorkers : ILocalWorkers, IAsyncDisposable
{
    private const int KeptLines = 50;

    private readonly Lock _lock = new();
    private readonly List<LocalWorker> _workers = [];
    private readonly RunOptions _options;
    private readonly Uri _coordinator;
    private readonly JoinToken _token;
    private readonly RunInbox _inbox;
    private bool _isStopping;

    private LocalWorkers(RunOptions options, Uri coordinator, JoinToken token, RunInbox inbox)
    {
        _options = options;
        _coordinator = coordinator;
        _token = token;
        _inbox = inbox;
    }

    /// <summary>Starts N workers that call the coordinator at a loopback port.</summary>
    /// <exception cref="RunFailedException">The worker program is missing or cannot be started.</exception>
    public static LocalWorkers Start(RunOptions options, Uri coordinator, JoinToken token, RunInbox inbox)
    {
        LocalWorkers workers = new(options, coordinator, token, inbox);
        foreach (string name in options.LocalWorkerNames())
            workers.Start(name);
        return workers;
    }

    public void Replace(string name) => Task.Run(() =>
    {
        try
        {
            Start(name);
        }
        catch (RunFailedException exception)
        {
            _inbox.Post(new LocalWorkerExited(name, null, exception.Message));
        }
    });

    /// <summary>The run has broken off: closes the pipes, upon which the workers end without finishing anything.</summary>
    public void Abort()
    {
        foreach (LocalWorker worker in StopStarting())
            worker.Process.StandardInput.Close();
    }

    /// <summary>Waits for the workers to go by themselves, as they do when they are let go; kills those that stay.</summary>
    public async ValueTask DisposeAsync()
    {
        LocalWorker[] workers = StopStarting();
        using CancellationTokenSource grace = new(_options.DrainTimeout);
        foreach (LocalWorker worker in workers)
        {
            try
            {
                await worker.Process.WaitForExitAsync(grace.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                worker.Process.Kill(entireProcessTree: true);
                await worker.Process.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }

        foreach (LocalWorker worker in workers)
            worker.Process.Dispose();
    }

    /// <summary>What the workers that failed said last, each line behind the worker's name.</summary>
    public IEnumerable<string> LastWords()
    {
        LocalWorker[] workers;
        lock (_lock)
            workers = [.. _workers];
        return workers
            .Where(static worker => worker.HasFailed)
            .SelectMany(static worker => worker.Lines().Select(line => $"[{worker.Name}] {line}"));
    }

    private LocalWorker[] StopStarting()
    {
        lock (_lock)
        {
            _isStopping = true;
            return [.. _workers];
        }
    }

    private static ProcessStartInfo FindProgram()
    {
        string directory = Path.Combine(AppContext.BaseDirectory, "worker");
        string program = Path.Combine(directory, OperatingSystem.IsWindows() ? "worker.exe" : "worker");
        string library = Path.Combine(directory, "worker.dll");
        string host = Environment.ProcessPath is { } self && Path.GetFileNameWithoutExtension(self) == "dotnet" ? self : "dotnet";
        ProcessStartInfo start = File.Exists(program) ? new(program)
            : File.Exists(library) ? new(host, [library])
            : throw new RunFailedException($"the worker program is missing: expected {program}; build the solution again");
        start.RedirectStandardInput = true;
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        start.UseShellExecute = false;
        return start;
    }

    private void Start(string name)
    {
        ProcessStartInfo start = FindProgram();
        // Not on the command line, which everybody on the machine may read; and nothing that is meant for other workers.
        foreach (string variable in start.Environment.Keys.Where(static name => name.StartsWith("WORKER__", StringComparison.Ordinal)).ToArray())
            start.Environment.Remove(variable);
        start.Environment[JoinToken.Variable] = _token.Reveal();
        foreach (string argument in (ReadOnlySpan<string>)["--coordinator", _coordinator.ToString(), "--threads", $"{_options.LocalThreads}", "--name", name, "--owned"])
            start.ArgumentList.Add(argument);
        LocalWorker worker = new(name, new Process { StartInfo = start, EnableRaisingEvents = true });
        worker.Process.OutputDataReceived += (_, line) => worker.Keep(line.Data);
        worker.Process.ErrorDataReceived += (_, line) => worker.Keep(line.Data);
        worker.Process.Exited += (_, _) => OnExited(worker);
        try
        {
            worker.Process.Start();
        }
        catch (Win32Exception exception)
        {
            throw new RunFailedException($"{name} could not be started: {exception.Message}", exception);
        }

        worker.Process.BeginOutputReadLine();
        worker.Process.BeginErrorReadLine();
        bool isLate;
        lock (_lock)
        {
            isLate = _isStopping;
            if (!isLate)
            {
                // Of those it replaces only the last words are of interest, and only of the last.
                _workers.RemoveAll(other => other.Name == name && other.IsDone);
                _workers.Add(worker);
            }
        }

        // The run has ended meanwhile: nobody would let this one go.
        if (isLate)
            worker.Process.StandardInput.Close();
    }

    private void OnExited(LocalWorker worker)
    {
        int code = worker.Process.ExitCode;
        worker.End(code);
        bool isExpected;
        lock (_lock)
            isExpected = _isStopping;
        if (!isExpected)
            _inbox.Post(new LocalWorkerExited(worker.Name, code, $"ended with exit code {code}"));
    }

    private sealed class LocalWorker(string name, Process process)
    {
        private readonly Queue<string> _lines = new();
        private int? _exitCode;

        public string Name { get; } = name;

        public Process Process { get; } = process;

        public bool IsDone
        {
            get
            {
                lock (_lines)
                    return _exitCode is not null;
            }
        }

        public bool HasFailed
        {
            get
            {
                lock (_lines)
                    return _exitCode is not (null or 0);
            }
        }

        public void End(int exitCode)
        {
            lock (_lines)
                _exitCode = exitCode;
        }

        public void Keep(string? line)
        {
            if (line is null)
                return;
            lock (_lines)
            {
                _lines.Enqueue(line);
                if (_lines.Count > KeptLines)
                    _lines.Dequeue();
            }
        }

        public string[] Lines()
        {
            lock (_lines)
                return [.. _lines];
        }
    }
}
