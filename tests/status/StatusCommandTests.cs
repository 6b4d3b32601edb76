using System.CommandLine;
using System.Net;
using System.Net.Sockets;
using Distributed.Coordinator.Commands;

namespace Distributed.Tests.Status;

/// <summary>coordinator status, run in this process as the host runs it.</summary>
[Collection(nameof(ShownRun))]
public sealed class StatusCommandTests
{
    [Fact]
    public async Task Status_OfARun_ShowsProgressWorkersEpochsAndEvents()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        (int code, string output) = await InvokeAsync("--status", run.Address.AbsoluteUri);
        Assert.Equal(0, code);
        foreach (string part in new[] { "convnet", "evaluating", "epoch 1/2, step 4/4", "50%", "worker-1", "4,5,6,7", "0.2500", "worker-2 joined from nowhere" })
            Assert.Contains(part, output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001b', output);
    }

    [Fact]
    public async Task Watch_OfARun_FollowsItToItsEnd()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        using StringWriter output = new();
        Task<int> watching = StatusCommand.Create().Parse(["--status", run.Address.Authority, "--watch"])
            .InvokeAsync(new InvocationConfiguration { Output = output, EnableDefaultExceptionHandler = false }, TestContext.Current.CancellationToken);
        await EventReader.UntilAsync(run.Client, static status => status.State() == "waiting");
        run.Train();
        await EventReader.UntilAsync(run.Client, static status => status.State() == "evaluating");
        await run.EndAsync();
        Assert.Equal(0, await watching.WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken));
        Assert.Equal("completed: epoch 1/2, step 4/8, loss 0.5000, accuracy 0.7500, test accuracy 0.8889, 1000 images/s", output.ToString().Trim().Split('\n')[^1].Trim());
    }

    [Fact]
    public async Task Status_WhereNobodyIs_SaysSo()
    {
        TcpListener free = new(IPAddress.Loopback, 0);
        free.Start();
        string address = $"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}";
        free.Stop();
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => InvokeAsync("--status", address));
        Assert.Contains("no coordinator answers there", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Health_OfACoordinator_IsOneWord()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        Assert.Equal((0, $"alive{Environment.NewLine}"), await InvokeAsync("--status", run.Address.AbsoluteUri, "--health"));
    }

    [Fact]
    public async Task Status_WithNoUrl_IsRefused()
    {
        ConfigurationException refusal = await Assert.ThrowsAsync<ConfigurationException>(() => InvokeAsync("--status", "ftp://here"));
        Assert.Contains("--status must be a URL", refusal.Message, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output)> InvokeAsync(params string[] arguments)
    {
        using StringWriter output = new();
        int code = await StatusCommand.Create().Parse(arguments)
            .InvokeAsync(new InvocationConfiguration { Output = output, EnableDefaultExceptionHandler = false }, TestContext.Current.CancellationToken);
        return (code, output.ToString());
    }
}
