using System.Net;
using System.Net.Sockets;
using Distributed.Coordinator.Exchange;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;
using Grpc.AspNetCore.Server.Model;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Console;

namespace Distributed.Coordinator.Hosting;

/// <summary>The gRPC port.</summary>
internal sealed class CoordinatorServer : IAsyncDisposable
{
    /// <summary>Under which the run itself logs.</summary>
    public const string LogCategory = "coordinator";

    // Streams of workers that do not hang up by themselves are cut after this.
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(1);

    // Until a call is under way, and when none is any more.
    private static readonly TimeSpan IdleTimeout = TimeSpan.FromSeconds(10);

    // A worker has one call at a time; another while the last one ends.
    private const int StreamsPerConnection = 4;
    private const int LeastConnections = 256;

    private readonly WebApplication _app;

    private CoordinatorServer(WebApplication app, Uri localAddress, string listensAt)
    {
        _app = app;
        LocalAddress = localAddress;
        ListensAt = listensAt;
    }

    /// <summary>Where workers on this machine call.</summary>
    public Uri LocalAddress { get; }

    /// <summary>HOST:PORT as it was asked for, with the port that the system chose if that was left to it.</summary>
    public string ListensAt { get; }

    public ILoggerFactory Logging => _app.Services.GetRequiredService<ILoggerFactory>();

    /// <summary>Opens the port. Workers may call from now on; they are welcomed once the step loop runs.</summary>
    /// <param name="maxMessageBytes">The largest message that a worker may send.</param>
    /// <exception cref="ConfigurationException">The address cannot be listened at.</exception>
    public static async Task<CoordinatorServer> StartAsync(
        RunOptions options, Admission admission, ExchangeSeam exchange, RunInbox inbox, RunJournal journal, int maxMessageBytes, CancellationToken cancellation)
    {
        ListenAddress listen = options.ListenAddress();

        // The empty builder: no configuration files, no environment that could move the port, and it starts fastest.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseSockets(static sockets => sockets.WaitForDataBeforeAllocatingBuffer = false).ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MaxConcurrentConnections = Math.Max(LeastConnections, 2 * Math.Max(options.Workers, options.MinWorkers));
            kestrel.Limits.KeepAliveTimeout = IdleTimeout;
            kestrel.Limits.RequestHeadersTimeout = IdleTimeout;
            kestrel.Limits.Http2.MaxStreamsPerConnection = StreamsPerConnection;
            kestrel.Limits.Http2.InitialStreamWindowSize = StreamWindow.Of(options);
            kestrel.Listen(listen.EndPoint, endpoint =>
            {
                endpoint.Protocols = HttpProtocols.Http2;
                admission.Tls?.Apply(endpoint, isForWorkers: true);
            });
            // Workers started here need no certificates: nobody else sees what they say.
            if (options.IsSingleMachine && admission.Tls is not null)
                kestrel.Listen(IPAddress.Loopback, 0, static endpoint => endpoint.Protocols = HttpProtocols.Http2);
        });
        // After Kestrel's own, which does not give way.
        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, TransportMemory>();
        builder.Logging
            .AddSimpleConsole(static console =>
            {
                console.SingleLine = true;
                console.ColorBehavior = LoggerColorBehavior.Disabled;
            })
            .SetMinimumLevel(LogLevel.Warning)
            // Who runs a cluster wants to know who came; on one machine only troubles are news.
            .AddFilter(LogCategory, options.IsSingleMachine ? LogLevel.Warning : LogLevel.Information)
            // A worker that breaks off in mid-call is an event of ours, not an error of the framework.
            .AddFilter("Grpc", LogLevel.Critical)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Critical)
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        builder.Services.Configure<ConsoleLoggerOptions>(static console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(inbox);
        builder.Services.AddSingleton(journal);
        builder.Services.AddSingleton(TimeProvider.System);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(admission);
        builder.Services.AddSingleton<RefusalLog>();
        builder.Services.AddSingleton(exchange);
        builder.Services.AddSingleton<TrainingService>();
        builder.Services.AddSingleton<IServiceMethodProvider<TrainingService>, JoinBinding>();
        builder.Services.AddGrpc(grpc =>
        {
            grpc.MaxReceiveMessageSize = maxMessageBytes;
            // Vectors do not compress, and what a few bytes may unpack to has no limit.
            grpc.CompressionProviders.Clear();
        });
        WebApplication app = builder.Build();
        app.Use(static (call, next) =>
        {
            MessageLimit.Impose(call);
            return next(call);
        });
        app.UseRouting();
        app.MapGrpcService<TrainingService>();
        try
        {
            await app.StartAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or SocketException)
        {
            await app.DisposeAsync().ConfigureAwait(false);
            throw new ConfigurationException($"{listen.Option} {listen.Text}: {DescribeBindFailure(exception)}", exception);
        }

        // In the order of the calls above; the last is the local workers' own, where they have one.
        int[] ports = [.. app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Select(static address => new Uri(address).Port)];
        IPAddress host = listen.EndPoint.Address;
        host = host.Equals(IPAddress.Any) ? IPAddress.Loopback : host.Equals(IPAddress.IPv6Any) ? IPAddress.IPv6Loopback : host;
        host = ports.Length > 1 ? IPAddress.Loopback : host;
        return new CoordinatorServer(app, new UriBuilder(Uri.UriSchemeHttp, host.ToString(), ports[^1]).Uri, $"{listen.Text[..listen.Text.LastIndexOf(':')]}:{ports[0]}");
    }

    public async ValueTask DisposeAsync()
    {
        await _app.StopAsync().ConfigureAwait(false);
        await _app.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Why a port could not be opened, in a few words.</summary>
    internal static string DescribeBindFailure(Exception exception)
    {
        for (Exception? cause = exception; cause is not null; cause = cause.InnerException)
        {
            switch (cause)
            {
                case AddressInUseException:
                case SocketException { SocketErrorCode: SocketError.AddressAlreadyInUse }:
                    return "the port is in use";
                case SocketException { SocketErrorCode: SocketError.AddressNotAvailable }:
                    return "this machine has no such address";
                case SocketException { SocketErrorCode: SocketError.AccessDenied }:
                    return "not allowed to listen there";
            }
        }

        return exception.Message.Split('\n')[0];
    }
}
