using System.Diagnostics;
using System.Globalization;
using Distributed.Coordinator.Training;
using Spectre.Console;

namespace Distributed.Coordinator.Terminal;

/// <summary>
/// For terminals: a live bar an epoch, drawn from snapshots at its own pace, and Keras' line in its place at the end.
/// </summary>
internal sealed class EpochBar(IAnsiConsole console) : IRunObserver, IDisposable
{
    private static readonly TimeSpan RefreshInterval = TimeSpan.FromMilliseconds(100);

    private const int LongestBar = 30;

    private CancellationTokenSource _end = new();
    private Task _drawing = Task.CompletedTask;

    public void EpochStarted(int epoch, int epochs, RunProgress progress)
    {
        console.WriteLine($"Epoch {epoch}/{epochs}");
        _end.Dispose();
        _end = new CancellationTokenSource();
        CancellationToken end = _end.Token;
        _drawing = Task.Run(() => DrawAsync(progress, end), CancellationToken.None);
    }

    public void EpochEnded(EpochReport report)
    {
        Clear();
        // Past the console's own word wrap, so that the line stays one when it is copied.
        console.Profile.Out.Writer.WriteLine(KerasLine.Format(report));
    }

    /// <summary>Takes the bar away, should the run have ended within an epoch.</summary>
    public void Dispose()
    {
        Clear();
        _end.Dispose();
    }

    private void Clear()
    {
        _end.Cancel();
        _drawing.Wait();
    }

    private Task DrawAsync(RunProgress progress, CancellationToken end) => console
        .Live(Render(progress.Latest, TimeSpan.Zero, console.Profile.Width))
        .AutoClear(true)
        .StartAsync(async live =>
        {
            long start = Stopwatch.GetTimestamp();
            while (!end.IsCancellationRequested)
            {
                live.UpdateTarget(Render(progress.Latest, Stopwatch.GetElapsedTime(start), console.Profile.Width));
                await Task.Delay(RefreshInterval, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        });

    private static Markup Render(RunSnapshot now, TimeSpan elapsed, int width)
    {
        double share = now.StepsPerEpoch > 0 ? (double)now.Step / now.StepsPerEpoch : 0;
        string eta = now.Step > 0 ? Minutes(elapsed * ((1 - share) / share)) : "-:--";
        string text = string.Create(
            CultureInfo.InvariantCulture,
            $" ETA {eta} - {now.ImagesPerSecond:N0} images/s - accuracy: {now.Accuracy:0.0000} - loss: {now.Loss:0.0000}");
        string count = $"{now.Step}/{now.StepsPerEpoch} ";
        // One line, whatever the terminal: the bar takes what the figures leave.
        int room = Math.Clamp(width - count.Length - text.Length - 1, 0, LongestBar);
        int filled = (int)(share * room);
        return new Markup($"{count}[green]{new string('━', filled)}[/][grey]{new string('━', room - filled)}[/]{text}").Overflow(Overflow.Crop);
    }

    private static string Minutes(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{(int)time.TotalMinutes}:{time.Seconds:00}");
}
