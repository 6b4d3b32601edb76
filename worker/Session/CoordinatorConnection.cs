using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;

namespace Distributed.Worker.Session;

/// <summary>The way to the coordinator, for one session: connects when the first call is made.</summary>
internal sealed class CoordinatorConnection : IDisposable
{
    private static readonly TimeSpan TcpTimeout = TimeSpan.FromSeconds(5);

    private readonly SocketsHttpHandler _handler;
    private readonly GrpcChannel _channel;

    public CoordinatorConnection(WorkerOptions options, TimeProvider time)
    {
        _handler = new SocketsHttpHandler
        {
            // With the handshake of TLS.
            ConnectTimeout = 2 * TcpTimeout,
            UseProxy = false,
            InitialHttp2StreamWindowSize = 1 << 22,
            ConnectCallback = ConnectAsync,
            PlaintextStreamFilter = (context, _) => ValueTask.FromResult<Stream>(Stream = new ClientStream(context.PlaintextStream, time)),
        };
        options.Tls.Apply(_handler);
        _channel = GrpcChannel.ForAddress(options.Coordinator, new GrpcChannelOptions
        {
            HttpHandler = _handler,
            // Weights may be of any size: the coordinator was chosen by whoever started this worker.
            MaxReceiveMessageSize = null,
        });
        Invoker = _channel.CreateCallInvoker();
    }

    public CallInvoker Invoker { get; }

    /// <summary>What calls go over; null until there is one.</summary>
    public ClientStream? Stream { get; private set; }

    public void Dispose()
    {
        _channel.Dispose();
        _handler.Dispose();
    }

    /// <summary>
    /// Connects as the handler would by itself. Left to that, gRPC's client takes connecting over, to balance calls over several
    /// coordinators, and puts a stream of its own over the connection: one more call to wait for with each piece of a vector.
    /// </summary>
    /// <exception cref="IOException">Nobody answers.</exception>
    private static async ValueTask<Stream> ConnectAsync(SocketsHttpConnectionContext context, CancellationToken cancellation)
    {
        using CancellationTokenSource patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(TcpTimeout);
        Socket socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(context.DnsEndPoint, patience.Token).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (Exception exception)
        {
            socket.Dispose();
            if (exception is OperationCanceledException && !cancellation.IsCancellationRequested)
                throw new IOException($"no answer within {TcpTimeout.TotalSeconds:0} s", exception);
            throw;
        }
    }
}
