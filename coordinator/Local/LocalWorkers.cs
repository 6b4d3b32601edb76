using System.ComponentModel;
using System.Diagnostics;
using Distributed.CommandLine;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Local;

/// <summary>
/// The worker processes of the single-machine mode. Each holds the read end of a pipe whose other end is here: should
/// this process die in whatever way, the system closes it and the workers end.
/// </summary>
internal sealed class LocalWorkers : IAsyncDisposable
{
    private const int KeptLines = 50;

    private readonly List<LocalWorker> _workers = [];
    private readonly RunInbox _inbox;
    private readonly TimeSpan _grace;
    private volatile bool _isStopping;

    private LocalWorkers(RunInbox inbox, TimeSpan grace)
    {
        _inbox = inbox;
        _grace = grace;
    }

    /// <summary>Starts N workers that call the coordinator at a loopback port.</summary>
    /// <exception cref="RunFailedException">The worker program is missing or cannot be started.</exception>
    public static LocalWorkers Start(RunOptions options, Uri coordinator, JoinToken token, RunInbox inbox)
    {
        LocalWorkers workers = new(inbox, options.DrainTimeout);
        for (int i = 1; i <= options.Workers; i++)
        {
            ProcessStartInfo start = FindProgram();
            // Not on the command line, which everybody on the machine may read; and nothing meant for other workers.
            foreach (string variable in start.Environment.Keys.Where(static name => name.StartsWith("WORKER__", StringComparison.Ordinal)).ToArray())
                start.Environment.Remove(variable);
            start.Environment[JoinToken.Variable] = token.Reveal();
            foreach (string argument in (ReadOnlySpan<string>)["--coordinator", coordinator.ToString(), "--threads", $"{options.LocalThreads}", "--name", $"worker-{i}", "--owned"])
                start.ArgumentList.Add(argument);
            workers.Start($"worker-{i}", start);
        }

        return workers;
    }

    /// <summary>The run has broken off: closes the pipes, upon which the workers end without finishing anything.</summary>
    public void Abort()
    {
        _isStopping = true;
        foreach (LocalWorker worker in _workers)
            worker.Process.StandardInput.Close();
    }

    /// <summary>Waits for the workers to go by themselves, as they do when they are let go; kills those that stay.</summary>
    public async ValueTask DisposeAsync()
    {
        _isStopping = true;
        using CancellationTokenSource grace = new(_grace);
        foreach (LocalWorker worker in _workers)
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

        foreach (LocalWorker worker in _workers)
            worker.Process.Dispose();
    }

    /// <summary>What the workers that failed said last, each line behind the worker's name.</summary>
    public IEnumerable<string> LastWords() => _workers
        .Where(static worker => worker.Process.HasExited && worker.Process.ExitCode != 0)
        .SelectMany(static worker => worker.Lines().Select(line => $"[{worker.Name}] {line}"));

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

    private void Start(string name, ProcessStartInfo start)
    {
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

        lock (_workers)
            _workers.Add(worker);
        worker.Process.BeginOutputReadLine();
        worker.Process.BeginErrorReadLine();
    }

    private void OnExited(LocalWorker worker)
    {
        if (_isStopping)
            return;
        int stillRunning;
        lock (_workers)
            stillRunning = _workers.Count(static other => !other.Process.HasExited);
        _inbox.Post(new LocalWorkerExited(worker.Name, $"ended with exit code {worker.Process.ExitCode}", stillRunning));
    }

    private sealed class LocalWorker(string name, Process process)
    {
        private readonly Queue<string> _lines = new();

        public string Name { get; } = name;

        public Process Process { get; } = process;

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
