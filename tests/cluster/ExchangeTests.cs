using Distributed.Exchange;
using Distributed.Tests.Data;

namespace Distributed.Tests.Cluster;

/// <summary>Shared memory and gRPC: the same bits over both, and nothing left behind.</summary>
public sealed class ExchangeTests : IDisposable
{
    private const string FolderVariable = "DISTRIBUTED_SHARED_MEMORY_DIR";

    private readonly TinyDataset _data = new(train: 3000);
    private readonly TrainingRun _files = new();
    private readonly string _folder;
    private readonly Dictionary<string, string> _environment;

    public ExchangeTests()
    {
        Assert.SkipUnless(SharedSegment.Folder() is not null, "this system has no shared memory");
        _folder = Directory.CreateDirectory(Path.Combine(SharedSegment.Folder()!, $"exchange-tests-{Guid.NewGuid():N}")).FullName;
        _environment = new() { [FolderVariable] = _folder };
    }

    // Several to a vector of the small model.
    private const string Chunks = "grpc --chunk-kb 1";

    private string[] Options => ["--dataset", _data.Directory, "--model", _files.WriteSmallModel(), "--batch-size", "16", "--threads", "1"];

    [Fact]
    public async Task Weights_OverEitherExchange_AreTheSame()
    {
        string? expected = null;
        foreach ((string exchange, int workers) in new[] { ("grpc", 1), ("grpc", 3), (Chunks, 1), (Chunks, 2), (Chunks, 5), ("shm", 1), ("shm", 2), ("shm", 5), ("auto", 8) })
        {
            using TrainingRun files = new();
            await using ProgramRun run = await files.TrainAsync(_environment, [.. Options, "--exchange", .. exchange.Split(' '), "--workers", $"{workers}", "--epochs", "2"]);
            expected ??= files.WeightsSha256;
            Assert.True(expected == files.WeightsSha256, $"{workers} workers over {exchange} ended at {files.WeightsSha256}, not {expected}");
            AssertNothingIsLeft();
        }
    }

    [Theory]
    [InlineData("float32", "0")]
    [InlineData("float32", "1")]
    [InlineData("bf16", "0")]
    [InlineData("bf16", "1")]
    public async Task Weights_OfWorkersOverDifferentExchanges_AreTheSame(string wire, string chunkKilobytes)
    {
        string[] options = [.. Options, "--wire", wire, "--chunk-kb", chunkKilobytes, "--epochs", "2"];
        using TrainingRun mixed = new();
        await using ProgramRun reference = await _files.TrainAsync(_environment, [.. options, "--workers", "1"]);
        await using ProgramRun run = ProgramRun.Coordinator(
            _environment, ["train", .. options, "--out", mixed.Out, "--workers", "0", "--min-workers", "2", "--listen", "127.0.0.1:0"]);
        string address = await run.AddressAsync();
        await using ProgramRun near = ProgramRun.Worker(_environment, "--coordinator", address, "--threads", "1");
        // A worker that looks elsewhere cannot see what it is offered, as on another host.
        string elsewhere = Directory.CreateDirectory(Path.Combine(_folder, "elsewhere")).FullName;
        await using ProgramRun far = ProgramRun.Worker(new Dictionary<string, string> { [FolderVariable] = elsewhere }, "--coordinator", address, "--threads", "1");
        await run.SucceedAsync();
        await near.SucceedAsync();
        await far.SucceedAsync();
        Directory.Delete(elsewhere);
        Assert.Equal(_files.WeightsSha256, mixed.WeightsSha256);
        AssertNothingIsLeft();
    }

    [Theory]
    [InlineData("grpc", "float32")]
    [InlineData("shm", "float32")]
    [InlineData("grpc", "bf16")]
    [InlineData("shm", "bf16")]
    [InlineData(Chunks, "float32")]
    [InlineData(Chunks, "bf16")]
    public async Task Run_WithAWorkerKilled_EndsWithTheSameWeightsAndLeavesNothing(string exchange, string wire)
    {
        using TrainingRun disturbed = new();
        string[] options = [.. Options, "--wire", wire, "--epochs", "40"];
        await using ProgramRun reference = await _files.TrainAsync(_environment, [.. options, "--workers", "1"]);
        await using ProgramRun run = ProgramRun.Coordinator(_environment, ["train", .. options, "--out", disturbed.Out, "--exchange", .. exchange.Split(' '), "--workers", "3"]);
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        ProgramRun.Kill(run.Children()[1]);
        await run.SucceedAsync();
        // The killed one alone: the others take its shards over without a break.
        Assert.Single(run.Errors.Split('\n'), static line => line.Contains("Lost worker", StringComparison.Ordinal));
        Assert.Equal(_files.WeightsSha256, disturbed.WeightsSha256);
        AssertNothingIsLeft();
    }

    [Theory]
    [InlineData((int)PosixSignalNumber.Interrupt, 130)]
    [InlineData((int)PosixSignalNumber.Terminate, 143)]
    public async Task Run_ToldToStop_LeavesNothing(int signal, int exitCode)
    {
        await using ProgramRun run = StartEndless();
        await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
        Assert.NotEmpty(Directory.GetFiles(_folder));
        run.Signal((PosixSignalNumber)signal);
        Assert.Equal(exitCode, await run.ExitAsync());
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task Coordinator_KilledOutright_IsClearedAwayByTheNextRun()
    {
        await using (ProgramRun run = StartEndless())
        {
            await run.LineAsync(static line => line.Contains("accuracy", StringComparison.Ordinal));
            IReadOnlyList<int> workers = run.Children();
            run.Signal(PosixSignalNumber.Kill);
            await run.ExitAsync();
            await ProgramRun.GoneAsync(workers);
        }

        // Young files are left alone, since they may be on the point of being locked.
        foreach (string path in Directory.GetFiles(_folder))
            File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddMinutes(-1));
        Assert.NotEmpty(Directory.GetFiles(_folder));
        await using ProgramRun next = await _files.TrainAsync(_environment, [.. Options, "--workers", "1", "--max-steps", "2"]);
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task Worker_ThatMustShareMemoryAndCannot_SaysWhy()
    {
        await using ProgramRun run = ProgramRun.Coordinator(
            _environment, ["train", .. Options, "--out", _files.Out, "--exchange", "grpc", "--workers", "0", "--listen", "127.0.0.1:0"]);
        await using ProgramRun worker = ProgramRun.Worker(_environment, "--coordinator", await run.AddressAsync(), "--exchange", "shm");
        Assert.Equal(1, await worker.ExitAsync());
        Assert.Contains("--exchange shm: the coordinator offers no shared memory", worker.Errors, StringComparison.Ordinal);

        await using ProgramRun strict = ProgramRun.Coordinator(
            _environment, ["train", .. Options, "--out", _files.Out, "--exchange", "shm", "--workers", "0", "--listen", "127.0.0.1:0"]);
        string elsewhere = Directory.CreateDirectory(Path.Combine(_folder, "elsewhere")).FullName;
        await using ProgramRun stranger = ProgramRun.Worker(
            new Dictionary<string, string> { [FolderVariable] = elsewhere }, "--coordinator", await strict.AddressAsync());
        Assert.Equal(1, await stranger.ExitAsync());
        Assert.Contains("takes no others (--exchange shm)", stranger.Errors, StringComparison.Ordinal);

        await using ProgramRun nowhere = ProgramRun.Coordinator(
            new Dictionary<string, string> { [FolderVariable] = Path.Combine(_folder, "missing") }, ["train", .. Options, "--exchange", "shm"]);
        Assert.Equal(2, await nowhere.ExitAsync());
        Assert.Contains("--exchange shm: there is no shared memory here", nowhere.Errors, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _files.Dispose();
        _data.Dispose();
        if (_folder is not null)
            Directory.Delete(_folder, recursive: true);
    }

    private ProgramRun StartEndless() =>
        ProgramRun.Coordinator(_environment, ["train", .. Options, "--out", _files.Out, "--workers", "2", "--epochs", "1000000"]);

    private void AssertNothingIsLeft() => Assert.Empty(Directory.GetFiles(_folder));
}
