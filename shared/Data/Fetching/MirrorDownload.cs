using System.IO.Compression;
using System.Net;
using System.Net.Sockets;

namespace Distributed.Data.Fetching;

/// <summary>How long to wait for a source before trying the next one.</summary>
public sealed record FetchTimeouts
{
    /// <summary>To resolve the name and connect, TLS included.</summary>
    public TimeSpan Connect { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Without a single byte.</summary>
    public TimeSpan Stall { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>For all of npm's work, which shows no progress.</summary>
    public TimeSpan Npm { get; init; } = TimeSpan.FromMinutes(5);
}

/// <summary>Downloads a data set's gzipped files from one mirror.</summary>
internal sealed class MirrorDownload(HttpClient client, Uri mirror, FetchTimeouts timeouts, IProgress<FetchEvent>? progress)
{
    // A bar cannot show more than this many changes a file, and every report costs.
    private const int ReportEvery = 1 << 17;

    /// <summary>An HTTP client that gives up soon on a machine without a network.</summary>
    public static HttpClient CreateClient(FetchTimeouts timeouts) =>
        new(new SocketsHttpHandler { ConnectTimeout = timeouts.Connect }) { Timeout = Timeout.InfiniteTimeSpan };

    /// <summary>Downloads, unpacks and verifies one file into the cache.</summary>
    /// <exception cref="SourceFaultException">The mirror cannot deliver it.</exception>
    public async Task FetchAsync(CatalogFile file, string directory, CancellationToken cancellation)
    {
        using CancellationTokenSource stall = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            stall.CancelAfter(timeouts.Connect + timeouts.Stall);
            using HttpResponseMessage response = await client
                .GetAsync(new Uri(mirror, file.Name + ".gz"), HttpCompletionOption.ResponseHeadersRead, stall.Token).ConfigureAwait(false);
            if (response.StatusCode != HttpStatusCode.OK)
                throw new SourceFaultException($"{file.Name}.gz: HTTP {(int)response.StatusCode} {response.ReasonPhrase}".TrimEnd());
            await using Stream body = await response.Content.ReadAsStreamAsync(stall.Token).ConfigureAwait(false);
            await using ReportingStream counted = new(
                body, new DownloadProgress(mirror.Host, file.Name, 0, response.Content.Headers.ContentLength), () => stall.CancelAfter(timeouts.Stall), progress);
            await using GZipStream unpacked = new(counted, CompressionMode.Decompress);
            await VerifiedFile.CopyAsync(unpacked, file, directory, stall.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException canceled) when (!cancellation.IsCancellationRequested)
        {
            // The connect timeout has an exception of its own inside; everything else is ours.
            throw new SourceFaultException(
                canceled.InnerException is TimeoutException ? $"no connection within {timeouts.Connect.TotalSeconds:0.#} s" : $"no data for {timeouts.Stall.TotalSeconds:0.#} s",
                canceled);
        }
        catch (HttpRequestException fault)
        {
            throw new SourceFaultException(Describe(fault), fault);
        }
        catch (InvalidDataException damage)
        {
            throw new SourceFaultException($"{file.Name}.gz: the gzip data is damaged or truncated", damage);
        }
        catch (IOException fault)
        {
            throw new SourceFaultException($"{file.Name}.gz: the connection broke off", fault);
        }
    }

    private static string Describe(HttpRequestException fault) => fault switch
    {
        { HttpRequestError: HttpRequestError.NameResolutionError } => "the host name cannot be resolved",
        { HttpRequestError: HttpRequestError.SecureConnectionError } => "no secure connection: " + FileFault.OneLine((fault.InnerException ?? fault).Message),
        { InnerException: SocketException { SocketErrorCode: SocketError.ConnectionRefused } } => "connection refused",
        _ => FileFault.OneLine((fault.InnerException ?? fault).Message),
    };

    /// <summary>Passes reads through, telling of every byte that came.</summary>
    private sealed class ReportingStream(Stream inner, DownloadProgress start, Action received, IProgress<FetchEvent>? progress) : Stream
    {
        private DownloadProgress _state = start;
        private long _reported = -1;

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int count = await inner.ReadAsync(buffer, cancellationToken).ConfigureAwait(false);
            received();
            _state = _state with { Received = _state.Received + count };
            if (_state.Received != _reported && (count == 0 || _reported < 0 || _state.Received - _reported >= ReportEvery || _state.Received == _state.Total))
            {
                _reported = _state.Received;
                progress?.Report(_state);
            }

            return count;
        }

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("downloads are read asynchronously");

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
    }
}
