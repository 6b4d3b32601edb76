using System.Text.Json;

namespace Distributed.Tests.Cluster;

/// <summary>A directory for one run's output, removed with it, and what the run wrote there.</summary>
internal sealed class TrainingRun : IDisposable
{
    /// <summary>Two convolutions and a pool, quick at any width.</summary>
    public const string SmallModel = """
        {"name": "small", "layers": [
          {"layer": "Conv2D", "filters": 6, "kernel_size": 3, "activation": "relu"},
          {"layer": "MaxPooling2D", "pool_size": 2},
          {"layer": "Dropout", "rate": 0.2},
          {"layer": "Flatten"},
          {"layer": "Dense", "units": 10, "activation": "softmax"}]}
        """;

    public string Directory { get; } = System.IO.Directory.CreateTempSubdirectory("training-run-").FullName;

    public string Out => Path.Combine(Directory, "out");

    public string Weights => Path.Combine(Out, "model.safetensors");

    /// <summary>For <c>--ledger</c>.</summary>
    public string Ledger => Path.Combine(Directory, "ledger");

    public string Checkpoints => Path.Combine(Directory, "checkpoints");

    /// <summary>The checkpoints that are there, oldest first.</summary>
    public IReadOnlyList<string> CheckpointNames =>
        System.IO.Directory.Exists(Checkpoints)
            ? [.. new DirectoryInfo(Checkpoints).EnumerateDirectories("checkpoint-*").Select(static entry => entry.Name).Order(StringComparer.Ordinal)]
            : [];

    public JsonElement Json => JsonDocument.Parse(File.ReadAllText(Path.Combine(Out, "run.json"))).RootElement;

    public string WeightsSha256 => Json.GetProperty("weights_sha256").GetString()!;

    /// <summary>Writes <see cref="SmallModel"/> and returns its path.</summary>
    public string WriteSmallModel() => WriteFile("small.json", SmallModel);

    public string WriteFile(string name, string content)
    {
        string path = Path.Combine(Directory, name);
        File.WriteAllText(path, content);
        return path;
    }

    /// <summary>Trains with <c>--out</c> here, and asserts that it went well.</summary>
    public async Task<ProgramRun> TrainAsync(IReadOnlyDictionary<string, string>? environment, params string[] arguments)
    {
        ProgramRun run = ProgramRun.Coordinator(environment ?? new Dictionary<string, string>(), ["train", "--out", Out, .. arguments]);
        try
        {
            await run.SucceedAsync();
            return run;
        }
        catch
        {
            await run.DisposeAsync();
            throw;
        }
    }

    /// <summary>Waits until a checkpoint of at least so many steps has appeared.</summary>
    public async Task CheckpointAsync(long steps)
    {
        System.IO.Directory.CreateDirectory(Checkpoints);
        TaskCompletionSource appeared = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using FileSystemWatcher watcher = new(Checkpoints);
        watcher.Renamed += (_, entry) => Look(entry.Name);
        watcher.EnableRaisingEvents = true;
        foreach (string name in CheckpointNames)
            Look(name);
        await appeared.Task.WaitAsync(ProgramRun.Deadline, TestContext.Current.CancellationToken);

        void Look(string? name)
        {
            if (name is not null && name.StartsWith("checkpoint-", StringComparison.Ordinal) && long.Parse(name[11..], null) >= steps)
                appeared.TrySetResult();
        }
    }

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}
