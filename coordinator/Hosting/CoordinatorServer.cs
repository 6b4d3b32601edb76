using System.Net.Sockets;
using Distributed.Coordinator.Training;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Console;

namespace Distributed.Coordinator.Hosting;

/// <summary>The gRPC port.</summary>
internal sealed class CoordinatorServer : IAsyncDisposable
{
    // Streams of workers that do not hang up by themselves are cut after this.
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromSeconds(1);

    private readonly WebApplication _app;

    private CoordinatorServer(WebApplication app, Uri localAddress)
    {
        _app = app;
        LocalAddress = localAddress;
    }

    /// <summary>Where workers on this machine call.</summary>
    public Uri LocalAddress { get; }

    public ILoggerFactory Logging => _app.Services.GetRequiredService<ILoggerFactory>();

    /// <summary>Opens the port. Workers may call from now on; they are welcomed once the step loop runs.</summary>
    /// <param name="maxMessageBytes">The largest message that a worker may send.</param>
    /// <exception cref="ConfigurationException">The address cannot be listened at.</exception>
    public static async Task<CoordinatorServer> StartAsync(RunOptions options, RunInbox inbox, int maxMessageBytes, CancellationToken cancellation)
    {
        ListenAddress listen = options.ListenAddress();

        // The empty builder: no configuration files, no environment that could move the port, and it starts fastest.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Listen(listen.EndPoint, static endpoint => endpoint.Protocols = HttpProtocols.Http2);
        });
        builder.Logging
            .AddSimpleConsole(static console =>
            {
                console.SingleLine = true;
                console.ColorBehavior = LoggerColorBehavior.Disabled;
            })
            .SetMinimumLevel(LogLevel.Warning)
            // A worker that breaks off in mid-call is an event of ours, not an error of the framework.
            .AddFilter("Grpc", LogLevel.Critical)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Critical)
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        builder.Services.Configure<ConsoleLoggerOptions>(static console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.Configure<HostOptions>(static host => host.ShutdownTimeout = ShutdownTimeout);
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(inbox);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton<TrainingService>();
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = maxMessageBytes);
        WebApplication app = builder.Build();
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

        string address = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First();
        return new CoordinatorServer(app, listen.ToLocalUri(new Uri(address).Port));
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
