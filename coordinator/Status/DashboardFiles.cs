using System.IO.Compression;
using System.Security.Cryptography;

namespace Distributed.Coordinator.Status;

/// <summary>A file of the dashboard, as it is in the assembly.</summary>
internal sealed class DashboardFile
{
    private readonly Lazy<byte[]> _packed;

    public DashboardFile(string name, string contentType)
    {
        using Stream stream = typeof(DashboardFile).Assembly.GetManifestResourceStream($"dashboard/{name}")
            ?? throw new InvalidOperationException($"the assembly has no dashboard/{name}");
        Content = new byte[stream.Length];
        stream.ReadExactly(Content);
        ContentType = contentType;
        EntityTag = $"\"{Convert.ToHexStringLower(SHA256.HashData(Content))[..16]}\"";
        _packed = new Lazy<byte[]>(Pack);
    }

    public byte[] Content { get; }

    public string ContentType { get; }

    private string EntityTag { get; }

    /// <summary>Sends it, packed if the browser can unpack, or says that the browser has it already.</summary>
    public async Task SendAsync(HttpContext context)
    {
        HttpResponse response = context.Response;
        response.Headers.CacheControl = "no-cache";
        response.Headers.ETag = EntityTag;
        if (context.Request.Headers.IfNoneMatch.Contains(EntityTag))
        {
            response.StatusCode = StatusCodes.Status304NotModified;
            return;
        }

        bool isPacked = context.Request.Headers.AcceptEncoding.ToString().Contains("gzip", StringComparison.OrdinalIgnoreCase);
        byte[] body = isPacked ? _packed.Value : Content;
        if (isPacked)
            response.Headers.ContentEncoding = "gzip";
        response.Headers.Vary = "Accept-Encoding";
        response.ContentType = ContentType;
        response.ContentLength = body.Length;
        await response.Body.WriteAsync(body, context.RequestAborted).ConfigureAwait(false);
    }

    private byte[] Pack()
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Fastest))
            gzip.Write(Content);
        return packed.ToArray();
    }
}

/// <summary>The page and what it loads: one folder of hand-written files, and the chart library out of its package.</summary>
internal static class DashboardFiles
{
    private static readonly Lazy<DashboardFile> LazyPage = new(static () => new("index.html", "text/html; charset=utf-8"));
    private static readonly Lazy<DashboardFile> LazyStyle = new(static () => new("dashboard.css", "text/css; charset=utf-8"));
    private static readonly Lazy<DashboardFile> LazyScript = new(static () => new("dashboard.js", "text/javascript; charset=utf-8"));
    private static readonly Lazy<DashboardFile> LazyCharts = new(static () => new("charts.js", "text/javascript; charset=utf-8"));
    private static readonly Lazy<DashboardFile> LazyLibrary = new(static () => new("echarts.js", "text/javascript; charset=utf-8"));

    public static DashboardFile Page => LazyPage.Value;

    public static DashboardFile Style => LazyStyle.Value;

    public static DashboardFile Script => LazyScript.Value;

    public static DashboardFile Charts => LazyCharts.Value;

    public static DashboardFile Library => LazyLibrary.Value;
}
