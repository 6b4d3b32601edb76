using Grpc.Core;
using Microsoft.Extensions.Logging;

namespace Distributed.Worker.Session;

/// <summary>Finds the coordinator, serves it, and finds it again when it was lost.</summary>
internal sealed class WorkerHost(WorkerOptions options, TimeProvider time, ILoggerFactory logging)
{
    private readonly ILogger _log = logging.CreateLogger("worker");

    // Whoever is in between on one connection will be on the next.
    private bool _mayHold = true;

    /// <summary>Returns when the coordinator has let this worker go.</summary>
    /// <exception cref="RunFailedException">There is no coordinator, or it refused this worker.</exception>
    /// <exception cref="OperationCanceledException">The worker was told to stop; it has finished what it had begun, and said goodbye.</exception>
    public async Task RunAsync(CancellationToken stop)
    {
        Backoff backoff = new(Random.Shared);
        long lastContact = time.GetTimestamp();
        bool isWaiting = false;
        while (true)
        {
            (SessionEnd? end, bool wasWelcomed, string failure) = await TryServeAsync(stop).ConfigureAwait(false);
            switch (end)
            {
                case SessionEnd.Drained:
                    Log.Drained(_log);
                    return;
                case SessionEnd.Stopped:
                    Log.Stopped(_log);
                    throw new OperationCanceledException(stop);
            }

            if (wasWelcomed)
            {
                backoff.Reset();
                lastContact = time.GetTimestamp();
                isWaiting = false;
            }

            TimeSpan pause = backoff.Next();
            if (time.GetElapsedTime(lastContact) + pause > options.ConnectTimeout)
            {
                throw new RunFailedException(
                    $"no coordinator at {options.Coordinator} for {options.ConnectTimeout.TotalSeconds:0} s; the last attempt said: {failure}");
            }

            if (!isWaiting)
                Log.Waiting(_log, options.Coordinator, failure);
            isWaiting = true;
            await Task.Delay(pause, time, stop).ConfigureAwait(false);
        }
    }

    /// <summary>One session, over a connection of its own: the one before may lead to where nobody is any more.</summary>
    private async Task<(SessionEnd? End, bool WasWelcomed, string Failure)> TryServeAsync(CancellationToken stop)
    {
        using CoordinatorConnection connection = new(options, time);
        CoordinatorSession session = new(connection.Invoker, options, time, _log, () => _mayHold ? connection.Stream : null);
        try
        {
            SessionEnd end = await session.RunAsync(stop).ConfigureAwait(false);
            return (end == SessionEnd.Lost ? null : end, true, "the connection was lost");
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException or IOException or InvalidOperationException)
        {
            stop.ThrowIfCancellationRequested();
            if (ClientTls.FindDistrust(exception) is { } distrust)
                throw new RunFailedException($"no safe connection to the coordinator at {options.Coordinator}: {distrust}", exception);
            return (null, session.WasWelcomed, exception is RpcException { Status.Detail: { Length: > 0 } detail } ? detail : "no answer");
        }
        finally
        {
            _mayHold &= connection.Stream?.MayHold != false;
        }
    }
}
