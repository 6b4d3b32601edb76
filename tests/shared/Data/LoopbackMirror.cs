using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Distributed.Tests.Data;

/// <summary>An HTTP server on loopback that can misbehave as real ones do.</summary>
internal sealed class LoopbackMirror : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly Func<string, Answer> _answer;
    private readonly Task _serving;

    public LoopbackMirror(Func<string, Answer> answer)
    {
        _answer = answer;
        _listener.Start();
        _serving = ServeAsync();
    }

    public Uri Address => new($"http://127.0.0.1:{((IPEndPoint)_listener.LocalEndpoint).Port}/data/");

    /// <summary>The files asked for, in order.</summary>
    public ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>Serves the files of a data set, packed.</summary>
    public static LoopbackMirror Of(TinyDataset tiny) => new(name => Answer.Ok(Packed(tiny, name)));

    public static byte[] Packed(TinyDataset tiny, string name) => TinyDataset.Gzip(File.ReadAllBytes(tiny.PathOf(name[..^".gz".Length])));

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _serving;
        _listener.Stop();
        _stop.Dispose();
    }

    private async Task ServeAsync()
    {
        List<Task> connections = [];
        try
        {
            while (true)
                connections.Add(HandleAsync(await _listener.AcceptTcpClientAsync(_stop.Token)));
        }
        catch (OperationCanceledException)
        {
            await Task.WhenAll(connections);
        }
    }

    private async Task HandleAsync(TcpClient client)
    {
        using (client)
        {
            try
            {
                NetworkStream stream = client.GetStream();
                using StreamReader reader = new(stream, Encoding.ASCII, leaveOpen: true);
                string request = await reader.ReadLineAsync(_stop.Token) ?? "";
                while (!string.IsNullOrEmpty(await reader.ReadLineAsync(_stop.Token)))
                {
                }

                string name = request.Split(' ')[1].Split('/')[^1];
                Requests.Enqueue(name);
                Answer answer = _answer(name);
                string head = $"HTTP/1.1 {answer.Status}\r\nContent-Length: {answer.Length}\r\nConnection: close\r\n\r\n";
                await stream.WriteAsync(Encoding.ASCII.GetBytes(head), _stop.Token);
                await stream.WriteAsync(answer.Body, _stop.Token);
                if (answer.Hangs)
                    await Task.Delay(Timeout.Infinite, _stop.Token);
            }
            catch (Exception end) when (end is OperationCanceledException or IOException)
            {
                // The test is over, or the client has gone.
            }
        }
    }

    /// <param name="Status">Code and reason.</param>
    /// <param name="Body">The bytes to send.</param>
    /// <param name="Length">The length to claim.</param>
    /// <param name="Hangs">Send nothing more, and keep the connection.</param>
    public sealed record Answer(string Status, byte[] Body, int Length, bool Hangs = false)
    {
        public static Answer Ok(byte[] body) => new("200 OK", body, body.Length);

        public static Answer NotFound { get; } = new("404 Not Found", [], 0);
    }
}
