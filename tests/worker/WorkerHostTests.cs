using System.Net;
using System.Net.Sockets;
using Distributed.Worker.Session;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>What a worker says that finds no coordinator.</summary>
public sealed class WorkerHostTests
{
    [Fact]
    public async Task Coordinator_ThatNobodyRuns_IsNamedWithTheReason()
    {
        using Socket bound = new(SocketType.Stream, ProtocolType.Tcp);
        // Bound, so that nobody else gets the port, but not listening.
        bound.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        Assert.Contains("refused", await FailAsync(bound), StringComparison.Ordinal);
    }

    /// <summary>A host that answers nothing, as behind a firewall: here one whose queue of callers is full.</summary>
    [Fact]
    public async Task Coordinator_ThatDoesNotAnswer_IsNamedWithTheReason()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "elsewhere a full queue refuses");
        using Socket listening = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listening.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listening.Listen(0);
        using Socket caller = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await caller.ConnectAsync(listening.LocalEndPoint!, TestContext.Current.CancellationToken);
        Assert.Contains("no answer within 5 s", await FailAsync(listening), StringComparison.Ordinal);
    }

    private static async Task<string> FailAsync(Socket there)
    {
        Uri address = new($"http://127.0.0.1:{((IPEndPoint)there.LocalEndPoint!).Port}");
        WorkerOptions options = new() { Coordinator = address, Threads = 1, Name = "lost", ConnectTimeout = TimeSpan.FromMilliseconds(1) };
        WorkerHost host = new(options, TimeProvider.System, NullLoggerFactory.Instance);
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => host.RunAsync(TestContext.Current.CancellationToken));
        Assert.Contains($"no coordinator at {address}", failure.Message, StringComparison.Ordinal);
        return failure.Message;
    }
}
