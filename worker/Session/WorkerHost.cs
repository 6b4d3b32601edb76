using System.Diagnostics;
using Distributed.Protos;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.Extensions.Logging;

namespace Distributed.Worker.Session;

/// <summary>Finds the coordinator, serves it, and finds it again when it was lost.</summary>
internal sealed class WorkerHost(WorkerOptions options, ILoggerFactory logging)
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    private readonly ILogger _log = logging.CreateLogger("worker");

    /// <summary>Returns when the coordinator has let this worker go.</summary>
    /// <exception cref="RunFailedException">There is no coordinator, or it refused this worker.</exception>
    public async Task RunAsync(CancellationToken cancellation)
    {
        using SocketsHttpHandler handler = new() { ConnectTimeout = TimeSpan.FromSeconds(5), UseProxy = false };
        options.Tls.Apply(handler);
        using GrpcChannel channel = GrpcChannel.ForAddress(options.Coordinator, new GrpcChannelOptions
        {
            HttpHandler = handler,
            // Weights may be of any size: the coordinator was chosen by whoever started this worker.
            MaxReceiveMessageSize = null,
        });
        Training.TrainingClient client = new(channel);
        TimeSpan pause = FirstPause;
        long lastContact = Stopwatch.GetTimestamp();
        bool isWaiting = false;
        while (true)
        {
            CoordinatorSession session = new(client, options, _log);
            string failure;
            try
            {
                if (await session.RunAsync(cancellation).ConfigureAwait(false) == SessionEnd.Drained)
                {
                    Log.Drained(_log);
                    return;
                }

                failure = "the connection was lost";
            }
            catch (Exception exception) when (exception is RpcException or OperationCanceledException or IOException && !cancellation.IsCancellationRequested)
            {
                if (ClientTls.FindDistrust(exception) is { } distrust)
                    throw new RunFailedException($"no safe connection to the coordinator at {options.Coordinator}: {distrust}", exception);
                failure = exception is RpcException rpc ? rpc.Status.Detail : "no answer";
            }

            if (session.WasWelcomed)
            {
                pause = FirstPause;
                lastContact = Stopwatch.GetTimestamp();
                isWaiting = false;
            }

            if (Stopwatch.GetElapsedTime(lastContact) + pause > options.ConnectTimeout)
            {
                throw new RunFailedException(
                    $"no coordinator at {options.Coordinator} for {options.ConnectTimeout.TotalSeconds:0} s; the last attempt said: {failure}");
            }

            if (!isWaiting)
                Log.Waiting(_log, options.Coordinator, failure);
            isWaiting = true;
            await Task.Delay(pause, cancellation).ConfigureAwait(false);
            pause = pause * 1.5 < LongestPause ? pause * 1.5 : LongestPause;
        }
    }
}
