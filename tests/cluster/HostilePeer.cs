using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using System.Net;
using System.Net.Sockets;
using Distributed.Protos;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Distributed.Tests.Cluster;

/// <summary>
/// Sends a coordinator whatever it should not get: byte streams that are no protocol, HTTP/2 that is not in order, gRPC
/// messages that are random, truncated, oversized or from nowhere; as a stranger and as one who has the token.
/// </summary>
/// <param name="grpcPort">Of the coordinator.</param>
/// <param name="otherPorts">Further ports that get the byte streams.</param>
internal sealed class HostilePeer(int grpcPort, int[] otherPorts, string token, int seed) : IDisposable
{
    private const string Path = "/distributed.training.v1.Training/Join";

    private static readonly byte[] s_preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray();
    private static readonly byte[] s_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];

    private static readonly Marshaller<byte[]> s_asItIs = Marshallers.Create(static bytes => bytes, static bytes => bytes);

    // A call whose messages are bytes as they are, not the protocol's.
    private static readonly Method<byte[], byte[]> s_join = new(
        MethodType.DuplexStreaming, "distributed.training.v1.Training", "Join", s_asItIs, s_asItIs);

    private readonly Random _random = new(seed);
    private readonly HttpClient _http = new(new SocketsHttpHandler { UseProxy = false }) { Timeout = TimeSpan.FromSeconds(20) };
    private readonly GrpcChannel _channel = GrpcChannel.ForAddress($"http://127.0.0.1:{grpcPort}");
    private ulong _run;

    /// <summary>Messages and byte streams sent.</summary>
    public int Sent { get; private set; }

    /// <summary>Calls that were welcomed.</summary>
    public int Welcomed { get; private set; }

    /// <summary>Sends at least so many.</summary>
    public async Task AttackAsync(int messages, CancellationToken cancellation)
    {
        while (Sent < messages)
        {
            try
            {
                await (_random.Next(10) switch
                {
                    < 5 => SendBytesAsync(cancellation),
                    < 8 => PostAsync(cancellation),
                    _ => ConverseAsync(cancellation),
                });
            }
            catch (Exception exception) when (!cancellation.IsCancellationRequested
                && exception is IOException or SocketException or HttpRequestException or RpcException or OperationCanceledException or InvalidOperationException)
            {
                // Being thrown out is what a hostile peer lives with.
            }
        }
    }

    public void Dispose()
    {
        _http.Dispose();
        _channel.Dispose();
    }

    /// <summary>A connection with anything on it.</summary>
    private async Task SendBytesAsync(CancellationToken cancellation)
    {
        Sent++;
        byte[] bytes = _random.Next(6) switch
        {
            0 => Noise(_random.Next(4096)),
            1 => Truncated(s_preface),
            2 => [.. s_preface, .. Noise(_random.Next(512))],
            3 => [.. s_preface, .. s_settings, 0xff, 0xff, 0xff, (byte)_random.Next(12), (byte)_random.Next(256), 0, 0, 0, 1, .. Noise(_random.Next(2048))],
            4 => [.. s_preface, .. s_settings, .. Frames()],
            _ => "POST / HTTP/1.1\r\nHost: coordinator\r\nContent-Length: 99999999999\r\n\r\n"u8.ToArray(),
        };
        int[] ports = [grpcPort, .. otherPorts];
        using Socket socket = new(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, ports[_random.Next(ports.Length)], cancellation);
        await socket.SendAsync(bytes, cancellation);
    }

    /// <summary>One call with a body that is written before anything is read.</summary>
    private async Task PostAsync(CancellationToken cancellation)
    {
        Sent++;
        byte[] body = _random.Next(6) switch
        {
            0 => Noise(_random.Next(20_000)),
            1 => Message(Noise(_random.Next(6000))),
            // Truncated: it says more than it has.
            2 => [0, .. BigEndian((uint)_random.Next()), .. Noise(_random.Next(3000))],
            3 => Message(Hello(_random.Next(2) == 0 ? "" : "guess").ToByteArray()),
            // Oversized.
            4 => Message(new WorkerMessage { Hello = new Hello { Name = new string('x', 1 << 20) } }.ToByteArray()),
            _ => [1, .. BigEndian((uint)Bomb.Length), .. Bomb],
        };
        using HttpRequestMessage request = new(HttpMethod.Post, $"http://127.0.0.1:{grpcPort}{(_random.Next(10) == 0 ? "/elsewhere" : Path)}")
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent(body),
        };
        request.Headers.Add("te", "trailers");
        request.Headers.Add("grpc-encoding", "gzip");
        request.Content.Headers.ContentType = new("application/grpc");
        using HttpResponseMessage response = await _http.SendAsync(request, cancellation);
        await response.Content.ReadAsByteArrayAsync(cancellation);
    }

    /// <summary>Says hello as a worker should, and then anything.</summary>
    private async Task ConverseAsync(CancellationToken cancellation)
    {
        using CancellationTokenSource patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(TimeSpan.FromSeconds(20));
        using AsyncDuplexStreamingCall<byte[], byte[]> call = _channel.CreateCallInvoker().AsyncDuplexStreamingCall(s_join, null, new CallOptions(cancellationToken: patience.Token));
        await call.RequestStream.WriteAsync(Hello(token).ToByteArray(), patience.Token);
        Assert.True(await call.ResponseStream.MoveNext(patience.Token));
        if (CoordinatorMessage.Parser.ParseFrom(call.ResponseStream.Current) is { Welcome: { } welcome })
        {
            _run = ulong.Parse(welcome.RunId, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            Welcomed++;
        }

        bool isReady = _random.Next(4) == 0;
        if (isReady)
            await call.RequestStream.WriteAsync(new WorkerMessage { Ready = new Ready { SharedMemory = _random.Next(2) == 0 } }.ToByteArray(), patience.Token);
        for (int i = _random.Next(1, 30); i > 0; i--)
        {
            Sent++;
            byte[] message = _random.Next(8) switch
            {
                0 => Noise(_random.Next(3000)),
                1 => Truncated(Partial(isReady)),
                2 => new byte[_random.Next(3_000_000)],
                3 => new WorkerMessage { BlockResult = new BlockResult { Id = Id(isReady), Block = (uint)_random.Next(), LossSum = double.NaN, Predictions = ByteString.CopyFrom(Noise(200)) } }.ToByteArray(),
                4 => new WorkerMessage { Heartbeat = new Heartbeat() }.ToByteArray(),
                5 => new WorkerMessage { Heartbeat = new Heartbeat(), Vector = ByteString.CopyFrom(Noise(_random.Next(50_000))) }.ToByteArray(),
                _ => Partial(isReady),
            };
            await call.RequestStream.WriteAsync(message, patience.Token);
        }
    }

    private WorkerMessage Hello(string shown) => new()
    {
        Hello = new Hello { ProtocolVersion = TrainingWire.ProtocolVersion, Arithmetic = Distributed.Engine.Arithmetic.Version, Name = $"hostile-{_random.Next()}", Threads = 1, InstructionSet = "none", JoinToken = shown, SharedMemory = _random.Next(2) == 0 },
    };

    /// <summary>Of the run itself unless the sender has leases: nobody can tell a false partial of a trusted worker from a true one.</summary>
    private StepId Id(bool isReady) => new()
    {
        Run = isReady ? _run + 1 : _run,
        MembershipVersion = (ulong)_random.Next(100),
        Epoch = (uint)_random.Next(4),
        Step = (uint)_random.Next(),
    };

    private byte[] Partial(bool isReady) => new WorkerMessage
    {
        Partial = new Partial
        {
            Id = Id(isReady),
            Node = (ulong)_random.NextInt64(long.MinValue, long.MaxValue),
            LossSum = _random.NextDouble(),
            Correct = uint.MaxValue,
            Samples = (uint)_random.Next(),
            ComputeMicroseconds = uint.MaxValue,
        },
        // One of them, both or none.
        Vector = ByteString.CopyFrom(Noise(_random.Next(2) * _random.Next(50_000))),
        Bfloat16Vector = ByteString.CopyFrom(Noise(_random.Next(2) * _random.Next(50_000))),
    }.ToByteArray();

    private byte[] Truncated(byte[] message) => message[.._random.Next(message.Length)];

    /// <summary>HTTP/2 frames of random types with right lengths.</summary>
    private byte[] Frames()
    {
        List<byte> frames = [];
        for (int i = _random.Next(1, 6); i > 0; i--)
        {
            byte[] payload = Noise(_random.Next(200));
            frames.AddRange([0, 0, (byte)payload.Length, (byte)_random.Next(12), (byte)_random.Next(256), 0, 0, 0, (byte)_random.Next(8), .. payload]);
        }

        return [.. frames];
    }

    private byte[] Noise(int length)
    {
        byte[] noise = new byte[length];
        _random.NextBytes(noise);
        return noise;
    }

    private static byte[] Message(byte[] payload) => [0, .. BigEndian((uint)payload.Length), .. payload];

    private static byte[] BigEndian(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, value);
        return bytes;
    }

    /// <summary>A few kilobytes that would unpack to 16 MB.</summary>
    private static byte[] Bomb { get; } = CreateBomb();

    private static byte[] CreateBomb()
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Optimal))
            gzip.Write(new byte[1 << 24]);
        return packed.ToArray();
    }
}
