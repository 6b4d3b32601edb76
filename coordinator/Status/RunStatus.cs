using System.Globalization;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Status;

/// <summary>Everything that shows a run to the outside, from its start to the end of --linger.</summary>
internal sealed class RunStatus : IAsyncDisposable
{
    private readonly TextWriter _notices;
    private readonly StatusComposer _composer;
    private readonly Telemetry _telemetry;
    private readonly TrainingMeter _meter;
    private StatusServer? _server;
    private TensorBoardLog? _tensorBoard;

    /// <param name="notices">Where to say at which address the endpoint is.</param>
    public RunStatus(RunOptions options, TextWriter notices)
    {
        _notices = notices;
        Monitor = new RunMonitor(options, new RunJournal(TimeProvider.System));
        _composer = new StatusComposer(Monitor);
        _telemetry = new Telemetry(options.Status.IsOn);
        _meter = new TrainingMeter(Monitor, _composer, TimeProvider.System);
    }

    public RunMonitor Monitor { get; }

    /// <summary>Whether the run got as far as to be shown.</summary>
    public bool IsOpen { get; private set; }

    /// <summary>Where the endpoint is; null where there is none.</summary>
    public Uri? Address => _server?.Address;

    private StatusOptions Options => Monitor.Options.Status;

    /// <summary>Opens the port, and the event files in the run's folder.</summary>
    /// <exception cref="ConfigurationException">The address cannot be listened at.</exception>
    /// <exception cref="RunFailedException">The event files cannot be written.</exception>
    public async Task OpenAsync(string folder, CancellationToken cancellation)
    {
        if (Options.TensorBoard)
            _tensorBoard = TensorBoardLog.Start(Path.Combine(folder, "tensorboard"), Monitor, _notices, TimeProvider.System);
        if (!Options.IsOn)
            return;
        _server = await StatusServer.StartAsync(Options, ServerTls.Load(Monitor.Options.Tls), Monitor, _composer, _telemetry, cancellation).ConfigureAwait(false);
    }

    /// <summary>All is in order and the run begins: tells where to watch it, which before would only bury a user's mistake.</summary>
    public void Begin(RunDefinition run)
    {
        Monitor.Run = run;
        IsOpen = true;
        if (_server is not null)
            _notices.WriteLine($"status at {_server.Address}");
    }

    /// <summary>Writes the page of the finished run, which needs no coordinator any more.</summary>
    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public void WriteReport(string path) => ReportFile.Write(path, new ReportDocument(_composer.Status(), Monitor.Curve.Read(), _composer.Result()));

    /// <summary>Whether <see cref="LingerAsync"/> would wait: the run got as far as to be shown, and --linger was given.</summary>
    public bool IsLingering => IsOpen && _server is not null && Options.Linger != TimeSpan.Zero;

    /// <summary>Keeps the endpoint up after the end of the run, as --linger says; an interruption ends that and is no failure.</summary>
    public async Task LingerAsync(CancellationToken cancellation)
    {
        if (!IsLingering || _server is null || cancellation.IsCancellationRequested)
            return;
        string time = Options.Linger is { } linger ? string.Create(CultureInfo.InvariantCulture, $"for {linger.TotalSeconds:0} s, or until interrupted") : "until interrupted";
        _notices.WriteLine($"{_server.Address} stays up {time}");
        await Task.Delay(Options.Linger ?? Timeout.InfiniteTimeSpan, cancellation).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Tells whoever watches how the run ended, then closes everything.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_tensorBoard is not null)
            await _tensorBoard.DisposeAsync().ConfigureAwait(false);
        if (_server is not null)
            await _server.DisposeAsync().ConfigureAwait(false);
        _telemetry.Dispose();
        _meter.Dispose();
    }
}
