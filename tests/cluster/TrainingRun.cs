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

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);
}
