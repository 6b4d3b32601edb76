namespace Distributed.Tests.Cluster;

/// <summary>
/// A coordinator and workers as separate programs that can each be killed, stopped and started again. All of them are gone
/// when it is disposed.
/// </summary>
internal sealed class RemoteCluster(string[] coordinatorOptions) : IAsyncDisposable
{
    private readonly List<ProgramRun> _everything = [];
    private string? _address;
    private int _workers;

    public ProgramRun Coordinator { get; private set; } = null!;

    /// <summary>Workers that were started and not killed since, by the test's account.</summary>
    public List<ProgramRun> Workers { get; } = [];

    /// <summary>All processes that there ever were.</summary>
    public IEnumerable<int> Processes => _everything.Select(static run => run.Id);

    /// <summary>Starts the coordinator, at a port that the system chooses, or starts it again at the same one.</summary>
    public async Task StartCoordinatorAsync(params string[] more)
    {
        Coordinator = Keep(ProgramRun.Coordinator(["train", "--workers", "0", "--listen", _address ?? "127.0.0.1:0", .. coordinatorOptions, .. more]));
        _address ??= (await Coordinator.AddressAsync())["http://".Length..];
    }

    /// <param name="exchange">How it may exchange: grpc, or auto for shared memory where there is some.</param>
    public ProgramRun StartWorker(string exchange = "auto")
    {
        ProgramRun worker = Keep(ProgramRun.Worker(
            "--coordinator", $"http://{_address}", "--threads", "1", "--name", $"w{++_workers}", "--exchange", exchange));
        Workers.Add(worker);
        return worker;
    }

    /// <summary>Lets whoever is still there go, and waits for it.</summary>
    public async Task DismissWorkersAsync()
    {
        foreach (ProgramRun worker in Workers)
        {
            worker.TrySignal(PosixSignalNumber.Continue);
            worker.TrySignal(PosixSignalNumber.Terminate);
        }

        foreach (ProgramRun worker in Workers)
            Assert.Contains(await worker.ExitAsync(), (int[])[0, 143]);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ProgramRun run in _everything)
            await run.DisposeAsync();
    }

    private ProgramRun Keep(ProgramRun run)
    {
        _everything.Add(run);
        return run;
    }
}
