using System.Globalization;
using Distributed.Models;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>A coordinator whose port is reached by those it was not opened for.</summary>
public sealed class HostilePeerTests
{
    private const int Messages = 10_000;
    private const int Peers = 8;

    // In kB. What all connections there may be can have under way, and the garbage between two collections.
    private const long MostGrowth = 400_000;

    [Fact]
    public async Task Coordinator_UnderTenThousandBadMessages_TrainsOnInBoundedMemory()
    {
        using TinyDataset data = new(train: 3000);
        using TrainingRun files = new(), undisturbed = new();
        string[] options = ["--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "1000000"];
        string token = "the-right-token";
        int port = ProgramRun.FreePort();
        await using ProgramRun run = ProgramRun.Coordinator(
            new Dictionary<string, string> { ["DISTRIBUTED_TOKEN"] = token },
            ["train", "--out", files.Out, "--workers", "2", "--threads", "1", "--listen", $"127.0.0.1:{port}", "--status", "127.0.0.1:0", "--checkpoint-dir", files.Checkpoints, .. options]);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        string status = await run.LineAsync(static line => line.StartsWith("status at ", StringComparison.Ordinal));
        int statusPort = new Uri(status["status at ".Length..]).Port;
        long before = PeakMemory(run.Id);

        int seed = Random.Shared.Next();
        HostilePeer[] peers = [.. Enumerable.Range(0, Peers).Select(lane => new HostilePeer(port, [statusPort], token, seed + lane))];
        await Task.WhenAll(peers.Select(static peer => Task.Run(
            () => peer.AttackAsync(Messages / Peers, TestContext.Current.CancellationToken), TestContext.Current.CancellationToken)));
        int sent = peers.Sum(static peer => peer.Sent), welcomed = peers.Sum(static peer => peer.Welcomed);
        foreach (HostilePeer peer in peers)
            peer.Dispose();
        long growth = PeakMemory(run.Id) - before;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}: {sent} messages, {welcomed} welcomes, peak memory {before:N0} kB and {growth:N0} kB more");
        Assert.True(sent >= Messages && welcomed > 0, $"seed {seed}: {sent} messages, {welcomed} welcomes");
        Assert.True(growth < MostGrowth, $"seed {seed}: {growth:N0} kB more memory");

        // It trains on: two more checkpoints, then the weights of the last one are those of a quiet run.
        await files.CheckpointAsync(Newest(files) + 1);
        await files.CheckpointAsync(Newest(files) + 1);
        run.Signal(PosixSignalNumber.Terminate);
        Assert.Equal(143, await run.ExitAsync());
        Assert.DoesNotContain("   at ", run.Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(token, run.Errors, StringComparison.Ordinal);
        WeightsFile last = WeightsFile.Read(Path.Combine(files.Checkpoints, files.CheckpointNames[^1], "model.safetensors"));
        await using ProgramRun reference = await undisturbed.TrainAsync(null, ["--workers", "1", "--threads", "2", "--max-steps", $"{Newest(files)}", .. options]);
        Assert.True(undisturbed.WeightsSha256 == WeightsHash.Sha256(last.Parameters), $"seed {seed}: other weights after {Newest(files)} steps");
    }

    private static long Newest(TrainingRun files) => long.Parse(files.CheckpointNames[^1]["checkpoint-".Length..], CultureInfo.InvariantCulture);

    /// <summary>The most that a process has held at a time, in kB.</summary>
    private static long PeakMemory(int process) => long.Parse(
        File.ReadLines($"/proc/{process}/status").Single(static line => line.StartsWith("VmHWM:", StringComparison.Ordinal))[6..^2], CultureInfo.InvariantCulture);
}
