using System.Globalization;
using Distributed.Coordinator.Status;
using Distributed.Reduction;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Distributed.Coordinator.Terminal;

/// <summary>A status as `coordinator status` shows it.</summary>
internal static class StatusView
{
    private const int BarWidth = 40;
    private const int Epochs = 8;
    private const int Events = 8;

    /// <summary>The whole picture: progress, workers, the last epochs and events.</summary>
    public static IRenderable Render(StatusDocument status)
    {
        List<IRenderable> rows = [Head(status), Progress(status), new Text("")];
        if (status.Workers.Count > 0)
            rows.Add(Workers(status));
        if (status.History.Count > 0)
            rows.Add(History(status));
        rows.AddRange(status.Events.TakeLast(Events).Select(static entry => new Markup(
            $"[grey]{entry.Time.ToLocalTime():HH:mm:ss}[/] {Escape(entry.Worker is null ? "" : entry.Worker + " ")}[bold]{Words(entry.Kind)}[/] {Escape(entry.Text)}")));
        if (status.Failure is { } failure)
            rows.Add(new Markup($"[red]{Escape(failure)}[/]"));
        return new Rows(rows);
    }

    /// <summary>One line, for logs.</summary>
    public static string Line(StatusDocument status) => Text(
        $"{Name(status.State)}: epoch {status.Epoch}/{status.Epochs}, step {status.StepsDone}/{status.TotalSteps ?? 0}, loss {Number(status.Loss, "0.0000")}, accuracy {Number(status.Accuracy, "0.0000")}, test accuracy {Number(status.TestAccuracy, "0.0000")}, {status.ImagesPerSecond:0} images/s{(status.Failure is null ? "" : $", {status.Failure}")}");

    private static Markup Head(StatusDocument status)
    {
        string colour = status.State switch
        {
            RunState.Completed => "green",
            RunState.Failed => "red",
            RunState.Training or RunState.Evaluating => "blue",
            _ => "yellow",
        };
        string parameters = status.Parameters is { } count ? Text($", {count:N0} parameters") : "";
        string wire = status.Wire == WirePrecision.Float32.Word() ? "" : $", {status.Wire} on the wire";
        return new Markup($"[bold]{Escape(status.Model)}[/]{(status.Dataset is { } data ? $" on {Escape(data)}" : "")}{parameters}{wire}  [{colour}]{Name(status.State)}[/]");
    }

    private static Markup Progress(StatusDocument status)
    {
        double share = status.TotalSteps is > 0 and { } total ? Math.Clamp((double)status.StepsDone / total, 0, 1) : 0;
        int filled = (int)(share * BarWidth);
        string eta = status.EtaSeconds is { } seconds ? $", {Duration(seconds)} left" : "";
        string test = status.TestAccuracy is { } accuracy ? Text($" - test accuracy {accuracy:0.0000}") : "";
        return new Markup(Text(
            $"[green]{new string('━', filled)}[/][grey]{new string('━', BarWidth - filled)}[/] {share * 100:0}%  epoch {status.Epoch}/{status.Epochs}, step {status.Step}/{status.StepsPerEpoch ?? 0}{eta}\nloss {Number(status.Loss, "0.0000")} - accuracy {Number(status.Accuracy, "0.0000")}{test} - {status.ImagesPerSecond:N0} images/s - {Duration(status.ElapsedSeconds)}"));
    }

    private static Table Workers(StatusDocument status)
    {
        Table table = new Table().Border(TableBorder.Simple);
        foreach (string name in (ReadOnlySpan<string>)["worker", "state", "shards"])
            table.AddColumn(name);
        foreach (string name in (ReadOnlySpan<string>)["images/s", "ms/step", "compute", "exchange", "wait", "heard"])
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (WorkerDocument worker in status.Workers)
        {
            string colour = worker.State switch
            {
                WorkerState.Lost => "red",
                WorkerState.Spare => "yellow",
                _ => "green",
            };
            table.AddRow(
                Escape(worker.Name),
                $"[{colour}]{Name(worker.State)}[/]",
                worker.Shards.Count == 0 ? "-" : string.Join(',', worker.Shards),
                Text($"{worker.ImagesPerSecond:N0}"),
                Text($"{worker.StepMs:0.0}"),
                Text($"{worker.ComputeMs:0.0}"),
                Text($"{worker.ExchangeMs:0.0}"),
                Text($"{worker.WaitMs:0.0}"),
                worker.State == WorkerState.Done ? "-" : $"{Duration(worker.LastHeartbeatMs / 1000)} ago");
        }

        return table;
    }

    private static Table History(StatusDocument status)
    {
        Table table = new Table().Border(TableBorder.Simple);
        foreach (string name in (ReadOnlySpan<string>)["epoch", "loss", "accuracy", "test loss", "test accuracy", "images/s", "seconds"])
            table.AddColumn(new TableColumn(name).RightAligned());
        foreach (HistoryDocument epoch in status.History.TakeLast(Epochs))
        {
            table.AddRow(
                Text($"{epoch.Epoch}"), Text($"{epoch.Loss:0.0000}"), Text($"{epoch.Accuracy:0.0000}"), Text($"{epoch.TestLoss:0.0000}"), Text($"{epoch.TestAccuracy:0.0000}"),
                Text($"{epoch.ImagesPerSecond:N0}"), Text($"{epoch.Seconds:0.0}"));
        }

        return table;
    }

    private static string Text(FormattableString text) => FormattableString.Invariant(text);

    private static string Number(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "-";

    private static string Name<T>(T state)
        where T : struct, Enum => $"{state}".ToLowerInvariant();

    private static string Words(Training.JournalKind kind) => System.Text.Json.JsonNamingPolicy.SnakeCaseLower.ConvertName($"{kind}").Replace('_', ' ');

    private static string Escape(string text) => Markup.Escape(text);

    private static string Duration(double seconds) => seconds switch
    {
        < 1 => "0 s",
        < 60 => Text($"{seconds:0} s"),
        < 3600 => Text($"{(int)seconds / 60} min {(int)seconds % 60} s"),
        _ => Text($"{(int)(seconds / 3600)} h {(int)(seconds / 60) % 60} min"),
    };
}
