using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Serialization;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Security;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace Distributed.Coordinator.Status;

/// <summary>The status port: HTTP/1.1, read-only.</summary>
internal sealed class StatusServer : IAsyncDisposable
{
    // What is still to be told at the end must not hold up the end, least of all when somebody waits for it.
    private static readonly TimeSpan LastWordsTime = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan LastWordsTimeWhenStopping = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan SlowReader = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan IdleTimeout = TimeSpan.FromSeconds(30);

    // Each page that is open holds one. The bound is for strangers who open more than they read.
    private const int MostConnections = 1024;

    private readonly WebApplication _app;
    private readonly RunMonitor _monitor;
    private readonly EventStream _events;
    private bool _hasEnded;

    private StatusServer(WebApplication app, RunMonitor monitor, EventStream events, Uri address)
    {
        _monitor = monitor;
        _app = app;
        _events = events;
        Address = address;
    }

    /// <summary>Where a browser on this machine finds it.</summary>
    public Uri Address { get; }

    /// <summary>Opens the port; one that nobody asked for gives way to a free one.</summary>
    /// <param name="tls">Null: it is not encrypted.</param>
    /// <exception cref="ConfigurationException">The address cannot be listened at.</exception>
    public static async Task<StatusServer> StartAsync(
        StatusOptions options, ServerTls? tls, RunMonitor monitor, StatusComposer composer, Telemetry telemetry, CancellationToken cancellation)
    {
        ListenAddress listen = options.Listen();
        try
        {
            return await StartAtAsync(listen, options, tls, monitor, composer, telemetry, cancellation).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException)
        {
            if (options.Address is not null)
                throw new ConfigurationException($"{listen.Option} {listen.Text}: {CoordinatorServer.DescribeBindFailure(exception)}", exception);
            return await StartAtAsync(listen with { EndPoint = new IPEndPoint(listen.EndPoint.Address, 0) }, options, tls, monitor, composer, telemetry, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Tells all readers of events how the run ended, and that nothing more will come.</summary>
    public async Task EndAsync()
    {
        _hasEnded = true;
        await _events.EndAsync(_monitor.State == RunState.Stopping ? LastWordsTimeWhenStopping : LastWordsTime).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        if (!_hasEnded)
            await EndAsync().ConfigureAwait(false);
        await _app.StopAsync().ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
        await _events.DisposeAsync().ConfigureAwait(false);
    }

    private static async Task<StatusServer> StartAtAsync(
        ListenAddress listen, StatusOptions options, ServerTls? tls, RunMonitor monitor, StatusComposer composer, Telemetry telemetry, CancellationToken cancellation)
    {
        Serialized serialized = new(composer);
        EventStream events = new(serialized.Latest, () => LastWords(monitor, composer), SlowReader);
        WebApplication app = Build(listen, tls);
        app.Use(new RequestGuard([.. options.Hosts, listen.Host]).InvokeAsync);
        app.UseExceptionHandler();
        app.UseStatusCodePages();
        app.UseRouting();
        StatusEndpoints.Map(app, monitor, composer, serialized, events);
        if (telemetry.Scraped is { } metrics)
            app.MapPrometheusScrapingEndpoint("/metrics", metrics, configureBranchedPipeline: null, optionsName: null);
        app.MapOpenApi();
        try
        {
            await app.StartAsync(cancellation).ConfigureAwait(false);
        }
        catch
        {
            await app.DisposeAsync().ConfigureAwait(false);
            throw;
        }

        string address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        return new StatusServer(app, monitor, events, listen.ToLocalUri(new Uri(address).Port, tls is not null));
    }

    /// <summary>What a page would still have to fetch after the last event, when there is nobody to answer any more.</summary>
    private static IEnumerable<(string Name, byte[] Data)> LastWords(RunMonitor monitor, StatusComposer composer)
    {
        yield return ("curve", JsonSerializer.SerializeToUtf8Bytes(monitor.Curve.Read(), StatusJson.Default.CurveDocument));
        if (composer.Result() is { } result)
            yield return ("result", JsonSerializer.SerializeToUtf8Bytes(result, StatusJson.Default.ResultDocument));
    }

    private static WebApplication Build(ListenAddress listen, ServerTls? tls)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = 0;
            kestrel.Limits.MaxConcurrentConnections = MostConnections;
            kestrel.Limits.RequestHeadersTimeout = IdleTimeout;
            kestrel.Limits.KeepAliveTimeout = IdleTimeout;
            kestrel.Listen(listen.EndPoint, endpoint =>
            {
                endpoint.Protocols = HttpProtocols.Http1;
                tls?.Apply(endpoint, isForWorkers: false);
            });
        });
        // Whoever has something to send sends it, without a thread of the pool for each step on the way: a frame of events
        // goes to hundreds of readers, and the workers need the cores. No handler here waits for anything but the socket.
        builder.Services.Configure<SocketTransportOptions>(static sockets => sockets.UnsafePreferInlineScheduling = true);
        builder.Logging.SetMinimumLevel(LogLevel.None);
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddRoutingCore();
        builder.Services.AddProblemDetails();
        builder.Services.ConfigureHttpJsonOptions(static http =>
        {
            http.SerializerOptions.TypeInfoResolverChain.Insert(0, StatusJson.Default);
            http.SerializerOptions.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
            // Numbers are numbers: the default for the web would have the document allow strings, too.
            http.SerializerOptions.NumberHandling = JsonNumberHandling.Strict;
        });
        builder.Services.AddOpenApi(static openApi => openApi.AddDocumentTransformer(static (document, _, _) =>
        {
            document.Info.Title = "Status of a training run";
            document.Info.Version = "1";
            document.Servers = [];
            return Task.CompletedTask;
        }));
        return builder.Build();
    }
}
