using System.Net;
using Microsoft.Extensions.Primitives;

namespace Distributed.Coordinator.Status;

/// <summary>
/// Keeps other sites' pages from reading the endpoint through the user's browser: a name that resolves to this machine
/// only for the attack (DNS rebinding) is refused by the Host header, a script of another origin by what the browser
/// says of its request. Programs that are no browsers send neither and are let through.
/// </summary>
/// <param name="hosts">Names beyond loopback's under which the endpoint may be called.</param>
internal sealed class RequestGuard(IEnumerable<string> hosts)
{
    private readonly HashSet<string> _hosts = new(hosts, StringComparer.OrdinalIgnoreCase) { "localhost" };

    public async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        SetHeaders(context.Response.Headers);
        if (!IsKnownHost(context.Request.Host))
        {
            await RefuseAsync(context, StatusCodes.Status421MisdirectedRequest, $"The host '{context.Request.Host.Host}' is not served here; name it with --status-host.").ConfigureAwait(false);
            return;
        }

        if (IsCrossSite(context.Request))
        {
            await RefuseAsync(context, StatusCodes.Status403Forbidden, "Pages of other origins may not read this endpoint.").ConfigureAwait(false);
            return;
        }

        await next(context).ConfigureAwait(false);
    }

    /// <summary>An address cannot be rebound, so that any will do; a name must be known.</summary>
    private bool IsKnownHost(HostString host) => host.HasValue && (_hosts.Contains(host.Host) || IPAddress.TryParse(host.Host, out _));

    private static bool IsCrossSite(HttpRequest request)
    {
        IHeaderDictionary headers = request.Headers;
        string? site = headers["Sec-Fetch-Site"];
        // A link on another page may lead here; the page that it opens is ours.
        bool isNavigation = headers["Sec-Fetch-Mode"] == "navigate" && headers["Sec-Fetch-Dest"] == "document";
        if (site is not (null or "same-origin" or "none") && !isNavigation)
            return true;
        StringValues origin = headers.Origin;
        return origin.Count > 0 && origin != $"{request.Scheme}://{request.Host}";
    }

    private static void SetHeaders(IHeaderDictionary headers)
    {
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";
        headers.ContentSecurityPolicy =
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        headers.CacheControl = "no-store";
    }

    private static Task RefuseAsync(HttpContext context, int code, string detail) =>
        TypedResults.Problem(detail, statusCode: code).ExecuteAsync(context);
}
