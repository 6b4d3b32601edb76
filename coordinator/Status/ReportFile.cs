using System.Text;
using System.Text.Json;
using Distributed.Data;

namespace Distributed.Coordinator.Status;

/// <summary>What the page of a finished run is drawn from.</summary>
internal sealed record ReportDocument(StatusDocument Status, CurveDocument Curve, ResultDocument? Result);

/// <summary>report.html: the dashboard of a finished run as one file, with its data, script and chart library in it.</summary>
internal static class ReportFile
{
    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public static void Write(string path, ReportDocument report)
    {
        string page = Encoding.UTF8.GetString(DashboardFiles.Page.Content);
        page = Inline(page, "<link rel=\"stylesheet\" href=\"dashboard.css\">", "<style>", DashboardFiles.Style, "</style>");
        page = Inline(page, "<script src=\"echarts.js\" defer></script>", "", null, "");
        page = Inline(page, "<script src=\"charts.js\" defer></script>", "", null, "");
        page = Inline(page, "<script src=\"dashboard.js\" defer></script>", "", null, "");
        // A "<" can only be within a string there, where its escape is as good; unescaped it could end the element.
        string data = JsonSerializer.Serialize(report, StatusJson.Default.ReportDocument).Replace("<", "\\u003c", StringComparison.Ordinal);
        StringBuilder end = new();
        end.Append("<script type=\"application/json\" id=\"report\">").Append(data).Append("</script>\n");
        foreach (DashboardFile script in (ReadOnlySpan<DashboardFile>)[DashboardFiles.Library, DashboardFiles.Charts, DashboardFiles.Script])
            end.Append("<script>").Append(Encoding.UTF8.GetString(script.Content)).Append("</script>\n");
        page = page.Replace("</body>", $"{end}</body>", StringComparison.Ordinal);
        AtomicFile.WriteAllBytes(path, Encoding.UTF8.GetBytes(page));
    }

    private static string Inline(string page, string reference, string open, DashboardFile? file, string close)
    {
        if (!page.Contains(reference, StringComparison.Ordinal))
            throw new InvalidOperationException($"the page has no {reference}");
        return page.Replace(reference, file is null ? "" : $"{open}\n{Encoding.UTF8.GetString(file.Content)}{close}", StringComparison.Ordinal);
    }
}
