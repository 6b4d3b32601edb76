using Distributed.Data;
using Distributed.Data.Fetching;
using Spectre.Console;

namespace Distributed.Coordinator.Commands;

/// <summary>Loads a data set and shows the download: bars at a terminal, plain lines elsewhere, nothing if it is there already.</summary>
internal static class DatasetLoading
{
    /// <param name="output">Where to show it, usually stderr.</param>
    /// <inheritdoc cref="DatasetSource.LoadAsync"/>
    public static async Task<LocatedDataset> LoadAsync(
        DatasetSource source, string dataset, string? dataDirectory, TextWriter output, CancellationToken cancellation)
    {
        bool isTerminal = ReferenceEquals(output, Console.Error) && !Console.IsErrorRedirected;
        if (!isTerminal)
            return await source.LoadAsync(dataset, dataDirectory, new FetchLines(output), cancellation);

        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
        FetchBars bars = new(console);
        Task<LocatedDataset> loading = Task.Run(() => source.LoadAsync(dataset, dataDirectory, bars, cancellation), cancellation);
        await Task.WhenAny(loading, bars.FirstDownload);
        if (!loading.IsCompleted)
        {
            await console.Progress()
                .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new DownloadedColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
                .StartAsync(async context =>
                {
                    bars.Show(context);
                    // Its failure is the caller's to see, once the bars are gone.
                    await Task.WhenAny(loading);
                });
        }

        return await loading;
    }

    /// <summary>One line a file and a notice.</summary>
    private sealed class FetchLines(TextWriter output) : IProgress<FetchEvent>
    {
        private readonly HashSet<(string Source, string File)> _seen = [];

        public void Report(FetchEvent value)
        {
            if (value is FetchNotice notice)
                output.WriteLine(notice.Text);
            else if (value is DownloadProgress progress && _seen.Add((progress.Source, progress.File)))
                output.WriteLine($"fetching {progress.File} from {progress.Source}");
        }
    }

    /// <summary>One bar a file. The first download may begin before there is a place to draw it.</summary>
    private sealed class FetchBars(IAnsiConsole console) : IProgress<FetchEvent>
    {
        private readonly Lock _gate = new();
        private readonly TaskCompletionSource _firstDownload = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly Dictionary<(string Source, string File), ProgressTask> _bars = [];
        private ProgressContext? _context;
        private DownloadProgress? _latest;

        public Task FirstDownload => _firstDownload.Task;

        public void Show(ProgressContext context)
        {
            lock (_gate)
            {
                _context = context;
                if (_latest is not null)
                    Draw(_latest);
            }
        }

        public void Report(FetchEvent value)
        {
            lock (_gate)
            {
                if (value is FetchNotice notice)
                    console.WriteLine(notice.Text);
                else if (value is DownloadProgress progress)
                    Draw(_latest = progress);
            }

            if (value is DownloadProgress)
                _firstDownload.TrySetResult();
        }

        private void Draw(DownloadProgress progress)
        {
            if (_context is null)
                return;
            if (!_bars.TryGetValue((progress.Source, progress.File), out ProgressTask? bar))
                _bars[(progress.Source, progress.File)] = bar = _context.AddTask($"{Markup.Escape(progress.File)} [grey]{Markup.Escape(progress.Source)}[/]");
            bar.IsIndeterminate = progress.Total is null;
            bar.MaxValue = progress.Total ?? 1;
            bar.Value = progress.Received;
        }
    }
}
