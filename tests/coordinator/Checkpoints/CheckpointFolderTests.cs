using Distributed.Coordinator.Checkpoints;
using Distributed.Coordinator.Training;
using Distributed.Optimizers;

namespace Distributed.Tests.Checkpoints;

/// <summary>What disks, people and other programs do to checkpoints.</summary>
public sealed class CheckpointFolderTests : IDisposable
{
    private const string Newest = "checkpoint-0000000006";
    private const string Before = "checkpoint-0000000005";

    private static readonly string[] s_files = [Checkpoint.WeightsName, Checkpoint.OptimizerName, CheckpointManifest.FileName];

    private readonly CheckpointedRun _runs = new();

    /// <summary>What befalls the newest checkpoint, and what must be said of it.</summary>
    public static TheoryData<string, string> Damages => [.. s_damages.Select(static damage => (damage.Key, damage.Value.Fault))];

    private static readonly Dictionary<string, (Action<string> Inflict, string Fault)> s_damages = new()
    {
        ["weights truncated"] = (static path => Truncate(path, Checkpoint.WeightsName), "model.safetensors is truncated"),
        ["optimizer truncated"] = (static path => Truncate(path, Checkpoint.OptimizerName), "optimizer.safetensors is truncated"),
        ["manifest truncated"] = (static path => Truncate(path, CheckpointManifest.FileName), "manifest.json is damaged"),
        ["weights missing"] = (static path => File.Delete(Path.Combine(path, Checkpoint.WeightsName)), "model.safetensors is missing"),
        ["manifest missing"] = (static path => File.Delete(Path.Combine(path, CheckpointManifest.FileName)), "manifest.json is missing"),
        ["weights longer"] = (static path => File.AppendAllText(Path.Combine(path, Checkpoint.WeightsName), "more"), "model.safetensors is another file"),
        ["weights of another"] = (
            static path => File.Copy(Path.Combine(path, "..", Before, Checkpoint.WeightsName), Path.Combine(path, Checkpoint.WeightsName), overwrite: true),
            "model.safetensors is damaged: its checksum does not fit"),
        ["manifest of something else"] = (static path => Overwrite(path, """{"model": "resnet"}"""), "manifest.json is not a checkpoint's"),
        ["manifest of a newer program"] = (
            static path => Overwrite(path, """{"format": "distributed-checkpoint", "version": 2}"""), "manifest.json is of version 2; this program reads version 1"),
        ["manifest of no JSON"] = (static path => Overwrite(path, "PK\u0003\u0004"), "manifest.json is damaged: it is not valid JSON"),
        ["a directory for a file"] = (
            static path =>
            {
                File.Delete(Path.Combine(path, Checkpoint.WeightsName));
                Directory.CreateDirectory(Path.Combine(path, Checkpoint.WeightsName));
            },
            "model.safetensors is missing"),
    };

    private RunOptions Resuming => _runs.Options with { Resume = true };

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task Newest_Damaged_IsReportedAndTheOneBeforeUsed(string damage, string fault)
    {
        RunResult expected = await _runs.RunAsync(_runs.Options with { CheckpointDirectory = null });
        await _runs.RunToAsync(6);
        s_damages[damage].Inflict(Path.Combine(_runs.Directory, Newest));
        int firstStep = int.MaxValue;
        RunResult actual = await _runs.RunAsync(Resuming, (workers, _) => workers[0].OnStep = order =>
        {
            firstStep = Math.Min(firstStep, (order.Epoch * 4) + order.Step);
            return true;
        });
        (string path, string said) = Assert.Single(_runs.PassedOver);
        Assert.EndsWith(Newest, path, StringComparison.Ordinal);
        Assert.StartsWith(fault, said, StringComparison.Ordinal);
        Assert.Equal(5, firstStep);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
    }

    [Fact]
    public async Task Newest_WithAnyBitFlipped_IsNoticed()
    {
        await _runs.RunToAsync(6);
        int seed = Random.Shared.Next();
        Random random = new(seed);
        foreach (string file in s_files)
        {
            string path = _runs.PathOf(Newest, file);
            byte[] whole = File.ReadAllBytes(path);
            for (int flip = 0; flip < 200; flip++)
            {
                int position = random.Next(whole.Length);
                byte[] flipped = [.. whole];
                flipped[position] ^= (byte)(1 << random.Next(8));
                File.WriteAllBytes(path, flipped);
                InvalidDataException? fault = Record.Exception(() => Checkpoint.Read(Path.GetDirectoryName(path)!)) as InvalidDataException;
                Assert.True(fault?.Message.StartsWith(file, StringComparison.Ordinal), $"seed {seed}: a bit flipped in byte {position} of {file}: {fault?.Message ?? "nobody noticed"}");
            }

            File.WriteAllBytes(path, whole);
        }
    }

    [Fact]
    public async Task All_Damaged_AreReportedAndTheRunRefused()
    {
        await _runs.RunToAsync(6);
        foreach (string name in _runs.Names)
            File.Delete(_runs.PathOf(name, Checkpoint.OptimizerName));
        ConfigurationException refusal = await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync(Resuming));
        Assert.Equal(3, _runs.PassedOver.Count);
        Assert.Contains(_runs.Directory, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Folder_AfterARun_HoldsTheLastThree()
    {
        Directory.CreateDirectory(Path.Combine(_runs.Directory, ".checkpoint-0000000001.abc.partial"));
        Directory.CreateDirectory(Path.Combine(_runs.Directory, "notes"));
        await _runs.RunToAsync(6);
        Assert.Equal(["checkpoint-0000000004", Before, Newest, "notes"], _runs.Names);
    }

    [Fact]
    public async Task Folder_WithADamagedNewest_KeepsOnlyWholeOnesInTheEnd()
    {
        await _runs.RunToAsync(6);
        Truncate(Path.Combine(_runs.Directory, Newest), Checkpoint.WeightsName);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _runs.RunAsync(Resuming, static (workers, stop) => workers[0].OnStep = _ =>
        {
            stop.Cancel();
            return true;
        }));
        Assert.All(_runs.Names, name => Checkpoint.Read(Path.Combine(_runs.Directory, name)));
        Assert.Contains(Newest, _runs.Names);
    }

    [Fact]
    public async Task Folder_OfAnEarlierRun_IsRefusedWithoutResume()
    {
        await _runs.RunAsync();
        Assert.Contains("--resume", (await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Folder_InUse_IsRefused()
    {
        using CheckpointFolder? other = CheckpointFolder.Open(_runs.Options);
        Assert.Contains("another run", (await Assert.ThrowsAsync<ConfigurationException>(() => _runs.RunAsync())).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Folder_ThatCannotBeMade_IsRefusedByName()
    {
        ConfigurationException refusal = Assert.Throws<ConfigurationException>(() => CheckpointFolder.Open(_runs.Options with { CheckpointDirectory = "/proc/no/such" }));
        Assert.StartsWith("--checkpoint-dir /proc/no/such", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Disk_ThatFailsInTheMidst_IsReportedAndTrainingGoesOn()
    {
        RunResult expected = await _runs.RunAsync(_runs.Options with { CheckpointDirectory = null });
        RunResult actual = await _runs.RunAsync(_runs.Options with { CheckpointEvery = 0 }, (workers, _) => workers[0].OnStep = order =>
        {
            if (order is { Epoch: 1, Step: 0 })
                MakeUnwritable();
            return true;
        });
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.NotNull(_runs.Latest?.LastError);
        Assert.DoesNotContain('\n', _runs.Latest.LastError);
        Assert.True(_runs.Journal.Count(JournalKind.CheckpointFailed) > 0);
        File.Delete(_runs.Directory);
    }

    [Fact]
    public async Task Disk_ThatRecovers_TakesTheNextCheckpoint()
    {
        await _runs.RunAsync(_runs.Options with { CheckpointEvery = 0 }, (workers, _) => workers[0].OnStep = order =>
        {
            if (order is { Epoch: 1, Step: 0 })
                MakeUnwritable();
            if (order is { Epoch: 2, Step: 0 })
                File.Delete(_runs.Directory);
            return true;
        });
        Assert.Null(_runs.Latest?.LastError);
        Assert.Equal("checkpoint-0000000012", _runs.Names[^1]);
    }

    [Fact]
    public async Task Disk_ThatHangs_HoldsUpNeitherTrainingNorTheEnd()
    {
        using HangingDisk disk = new();
        RunResult expected = await _runs.RunAsync(_runs.Options with { CheckpointDirectory = null });
        RunResult actual = await _runs.RunAsync(_runs.Options with { EndDiskPatience = TimeSpan.FromMilliseconds(50) }, store: disk);
        Assert.Equal(expected.WeightsSha256, actual.WeightsSha256);
        Assert.Contains("disk", _runs.Latest?.LastError, StringComparison.Ordinal);
        Assert.Equal(1, disk.Attempts);
    }

    [Fact]
    public async Task Disk_ThatHangsWhenTheRunIsStopped_IsWaitedForALittle()
    {
        using HangingDisk disk = new();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _runs.RunAsync(
            _runs.Options with { StopDiskPatience = TimeSpan.FromMilliseconds(50), EndDiskPatience = Timeout.InfiniteTimeSpan },
            static (workers, stop) => workers[0].OnStep = order =>
            {
                if (order is { Step: 2 })
                    stop.Cancel();
                return true;
            },
            disk));
        Assert.Contains("disk", _runs.Latest?.LastError, StringComparison.Ordinal);
    }

    public void Dispose() => _runs.Dispose();

    /// <summary>Takes a checkpoint and does not come back before the test ends.</summary>
    private sealed class HangingDisk : ICheckpointStore, IDisposable
    {
        private readonly ManualResetEventSlim _end = new();
        private int _attempts;

        public int Attempts => _attempts;

        public (string Path, long Bytes) Write(RunDefinition run, RunPosition position, float[] weights, IReadOnlyList<OptimizerVector> state)
        {
            Interlocked.Increment(ref _attempts);
            _end.Wait();
            throw new IOException("unplugged");
        }

        public void Dispose() => _end.Set();
    }

    private static void Truncate(string checkpoint, string file)
    {
        using FileStream stream = File.OpenWrite(Path.Combine(checkpoint, file));
        stream.SetLength(stream.Length / 2);
    }

    private static void Overwrite(string checkpoint, string manifest) => File.WriteAllText(Path.Combine(checkpoint, CheckpointManifest.FileName), manifest);

    /// <summary>A file where the directory was: not even root can write into that.</summary>
    private void MakeUnwritable()
    {
        // The writer may be at it just now: it makes the directory anew as long as it can.
        while (Directory.Exists(_runs.Directory))
        {
            try
            {
                Directory.Delete(_runs.Directory, recursive: true);
                File.WriteAllText(_runs.Directory, "");
            }
            catch (Exception race) when (race is IOException or UnauthorizedAccessException)
            {
            }
        }
    }
}
