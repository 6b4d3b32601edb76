using System.Text;
using Spectre.Console;

namespace Distributed.Coordinator.Commands;

/// <summary>How often images of each class (rows) were taken for each class (columns).</summary>
internal sealed class ConfusionMatrix
{
    private readonly int[,] _counts;

    public ConfusionMatrix(ReadOnlySpan<byte> labels, ReadOnlySpan<byte> predictions, int classes)
    {
        Classes = classes;
        _counts = new int[classes, classes];
        for (int i = 0; i < labels.Length; i++)
            _counts[labels[i], predictions[i]]++;
    }

    public int Classes { get; }

    public int this[int label, int prediction] => _counts[label, prediction];

    /// <summary>Share of a class's images that were recognised; NaN if there are none.</summary>
    public double Recall(int label)
    {
        int total = 0;
        for (int prediction = 0; prediction < Classes; prediction++)
            total += _counts[label, prediction];
        return total == 0 ? double.NaN : (double)_counts[label, label] / total;
    }

    /// <summary>Aligned text without control codes.</summary>
    public string Format()
    {
        int width = Math.Max(Cells().Max(static count => Digits(count)), Digits(Classes - 1)) + 2;
        int labelWidth = Math.Max("label".Length, Digits(Classes - 1));
        StringBuilder text = new();
        text.Append("label".PadRight(labelWidth));
        for (int prediction = 0; prediction < Classes; prediction++)
            text.Append($"{prediction}".PadLeft(width));
        text.AppendLine("  recall");
        for (int label = 0; label < Classes; label++)
        {
            text.Append($"{label}".PadRight(labelWidth));
            for (int prediction = 0; prediction < Classes; prediction++)
                text.Append($"{_counts[label, prediction]}".PadLeft(width));
            text.AppendLine($"  {FormatRecall(label)}");
        }

        return text.ToString();
    }

    /// <summary>For a terminal: hits green, misses red, zeros grey.</summary>
    public Table ToTable()
    {
        Table table = new Table().Border(TableBorder.Rounded).AddColumn("label \\ predicted");
        for (int prediction = 0; prediction < Classes; prediction++)
            table.AddColumn(new TableColumn($"{prediction}").RightAligned());
        table.AddColumn(new TableColumn("recall").RightAligned());
        for (int label = 0; label < Classes; label++)
        {
            List<string> row = [$"{label}"];
            for (int prediction = 0; prediction < Classes; prediction++)
            {
                int count = _counts[label, prediction];
                string colour = count == 0 ? "grey" : label == prediction ? "green" : "red";
                row.Add($"[{colour}]{count}[/]");
            }

            row.Add(FormatRecall(label));
            table.AddRow([.. row]);
        }

        return table;
    }

    private static int Digits(int number) => $"{number}".Length;

    private IEnumerable<int> Cells() => _counts.Cast<int>();

    private string FormatRecall(int label) => double.IsNaN(Recall(label)) ? "-" : $"{Recall(label):0.0000}";
}
