using System.Text;

namespace Distributed.Models;

/// <summary>The table of Keras 2's model.summary().</summary>
public static class SummaryTable
{
    private const int DefaultLineLength = 65;

    // Where the columns end, as fractions of the line's length.
    private const double NameEnd = 0.45;
    private const double ShapeEnd = 0.85;

    /// <summary>
    /// Formats the table, line for line and column for column as Keras does; only where Keras would cut off a name is
    /// the line made longer, as if the user had passed line_length. No spaces at the ends of lines.
    /// </summary>
    public static string Format(ResolvedModel model)
    {
        (string Name, string Shape, string Parameters)[] rows =
        [
            .. model.Layers.Select(static layer => (
                $"{layer.Name} ({LayerWords.TypeName(layer.Definition)})",
                layer.Output.ToString(),
                layer.Parameters.Sum(static tensor => tensor.Length).ToString())),
        ];
        int nameWidth = rows.Max(static row => row.Name.Length) + 1;
        int shapeWidth = rows.Max(static row => row.Shape.Length) + 1;
        int length = DefaultLineLength;
        while ((int)(length * NameEnd) < nameWidth || (int)(length * ShapeEnd) - (int)(length * NameEnd) < shapeWidth)
            length++;

        StringBuilder table = new();
        string thin = new('_', length);
        string thick = new('=', length);
        table.AppendLine(thin);
        AppendRow(("Layer (type)", "Output Shape", "Param #"));
        for (int i = 0; i < rows.Length; i++)
        {
            table.AppendLine(i == 0 ? thick : thin);
            AppendRow(rows[i]);
        }

        table.AppendLine(thick);
        table.AppendLine($"Total params: {model.ParameterCount:N0}");
        table.AppendLine($"Trainable params: {model.ParameterCount:N0}");
        table.AppendLine("Non-trainable params: 0");
        table.AppendLine(thin);
        return table.ToString();

        void AppendRow((string Name, string Shape, string Parameters) row)
        {
            string line = row.Name.PadRight((int)(length * NameEnd)) + row.Shape;
            table.AppendLine(line.PadRight((int)(length * ShapeEnd)) + row.Parameters);
        }
    }
}
