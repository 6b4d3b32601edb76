using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>A coordinator and two workers with 1 Gbit/s between them: what goes over the link, and that nothing else changes.</summary>
public sealed class SlowLinkTests
{
    private const int Megabits = 1000;
    private const int StepsPerEpoch = 20;
    private const int Epochs = 15;

    // As card and summary have it.
    private const int VectorBytes = 93_322 * sizeof(float);

    // Samples, orders, heartbeats, acknowledgements, frames.
    private const double MostBeside = 0.03;

    [Fact]
    public async Task Run_OverALinkOfLimitedSpeed_SendsEachVectorOnceAndEndsWithTheSameWeights()
    {
        using TinyDataset data = new(train: StepsPerEpoch * 64, test: 40, height: 28, width: 28);
        using TrainingRun undisturbed = new(), files = new();
        string[] options = ["--dataset", data.Directory, "--epochs", $"{Epochs}"];
        using Cable cable = NetworkSpace.CreateOrSkip(
            static () => Cable.Create($"dt-{Environment.ProcessId}", "10.78.0.1", "10.78.0.2", Megabits, TimeSpan.FromMilliseconds(0.1)));
        await using ProgramRun reference = await undisturbed.TrainAsync(null, ["--workers", "1", .. options]);

        string token = files.WriteFile("token", "a token for this test alone");
        await using ProgramRun run = cable.Left.Start(ProgramRun.CoordinatorPath, [
            "train", "--workers", "0", "--min-workers", "2", "--listen", "10.78.0.1:5000", "--token-file", token, "--exchange", "grpc",
            "--out", files.Out, "--ledger", files.Ledger, .. options]);
        string[] join = ["--coordinator", "http://10.78.0.1:5000", "--token-file", token, "--threads", "1"];
        await using ProgramRun first = cable.Right.Start(ProgramRun.WorkerPath, [.. join, "--name", "first"]);
        await using ProgramRun second = cable.Right.Start(ProgramRun.WorkerPath, [.. join, "--name", "second"]);
        await run.SucceedAsync();
        await first.SucceedAsync();
        await second.SucceedAsync();
        Assert.Equal(undisturbed.WeightsSha256, files.WeightsSha256);

        IReadOnlyList<LedgerLine> steps = Ledger.Read(files.Ledger);
        Assert.Equal(StepsPerEpoch * Epochs, steps.Count);
        // Usually two a step each way; whoever has gone slow may have got shards that take it two partials, or none at all.
        long partials = steps.Sum(static step => step.Partials.Count);
        // And for each evaluation one, whose images are one block.
        long orders = steps.Sum(static step => step.Partials.DistinctBy(static partial => partial.Worker).Count()) + Epochs;
        long sent = Cable.PayloadFrom(cable.Left), received = Cable.PayloadFrom(cable.Right);
        double seconds = files.Json.GetProperty("epochs").EnumerateArray().Sum(static epoch => epoch.GetProperty("seconds").GetDouble());
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{sent:N0} bytes for {orders} orders and {received:N0} for {partials} partials of {VectorBytes:N0}, in {seconds:0.00} s{(cable.HasDelay ? ", with a delay" : "")}");
        Assert.InRange((double)sent / (orders * VectorBytes), 1, 1 + MostBeside);
        Assert.InRange((double)received / (partials * VectorBytes), 1, 1 + MostBeside);
        // Else the link was not limited.
        Assert.True(seconds > 0.9 * sent * 8 / (Megabits * 1e6), $"{sent:N0} bytes in {seconds:0.00} s");
    }
}
