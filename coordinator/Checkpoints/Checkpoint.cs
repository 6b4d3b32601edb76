using System.Security.Cryptography;
using Distributed.Coordinator.Training;
using Distributed.Data;
using Distributed.Models;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Checkpoints;

/// <summary>
/// A checkpoint: a directory with the weights (a model file like any other), the optimizer's state and a manifest.
/// This is one that was read and found whole.
/// </summary>
internal sealed class Checkpoint
{
    public const string WeightsName = "model.safetensors";
    public const string OptimizerName = "optimizer.safetensors";

    private readonly CheckpointManifest _manifest;
    private readonly float[] _weights;
    private readonly IReadOnlyList<SafetensorsTensor> _state;

    private Checkpoint(string path, CheckpointManifest manifest, float[] weights, IReadOnlyList<SafetensorsTensor> state)
    {
        Path = path;
        _manifest = manifest;
        _weights = weights;
        _state = state;
    }

    public string Path { get; }

    public RunPosition Position => _manifest.Position;

    /// <summary>P values; not to be written.</summary>
    public float[] Weights => _weights;

    /// <summary>Writes a checkpoint's files into a directory that is there.</summary>
    /// <param name="weights">P values.</param>
    /// <param name="state">The optimizer's vectors, P values each.</param>
    /// <returns>Bytes of all its files but the manifest.</returns>
    /// <exception cref="RunFailedException">A file cannot be written.</exception>
    public static long Write(string directory, RunDefinition run, RunPosition position, float[] weights, IReadOnlyList<OptimizerVector> state)
    {
        WeightsFile.Write(System.IO.Path.Combine(directory, WeightsName), run.Model, run.Dataset.Source, weights);
        SafetensorsFile.Write(
            System.IO.Path.Combine(directory, OptimizerName),
            new Dictionary<string, string>(),
            [.. from vector in state
                from tensor in run.Model.Parameters
                select new SafetensorsTensor($"{tensor.Name}/{vector.Name}", tensor.Shape, vector.Values.Slice(tensor.Offset, tensor.Length))]);
        CheckpointFile[] files = [Describe(directory, WeightsName), Describe(directory, OptimizerName)];
        new CheckpointManifest(DateTimeOffset.UtcNow, CheckpointSettings.Of(run), position, files).Write(directory);
        return files.Sum(static file => file.Bytes);
    }

    /// <summary>Reads a checkpoint and holds each file against its checksum.</summary>
    /// <exception cref="InvalidDataException">It is damaged or none: a few words that begin with the name of the file at fault.</exception>
    public static Checkpoint Read(string path)
    {
        CheckpointManifest manifest = CheckpointManifest.Read(path);
        foreach (string name in (ReadOnlySpan<string>)[WeightsName, OptimizerName])
            Verify(path, name, manifest);
        try
        {
            WeightsFile weights = WeightsFile.Read(System.IO.Path.Combine(path, WeightsName));
            SafetensorsFile state = SafetensorsFile.Read(System.IO.Path.Combine(path, OptimizerName));
            return new Checkpoint(path, manifest, weights.Parameters, state.Tensors);
        }
        catch (ConfigurationException fault)
        {
            throw new InvalidDataException(fault.Message, fault);
        }
    }

    /// <summary>Refuses a run that would not have come here.</summary>
    /// <exception cref="ConfigurationException">Its settings differ, or it ends before.</exception>
    public void Check(RunDefinition run)
    {
        string differences = CheckpointSettings.Differences(_manifest.Settings, CheckpointSettings.Of(run));
        if (differences.Length > 0)
            throw new ConfigurationException($"{Path} is of another configuration: {differences}; give the same, or another --checkpoint-dir");
        if (Position.IsPast(run.Options))
        {
            throw new ConfigurationException(
                $"{Path} is already at {Position} ({Position.Steps} steps), past the end that --epochs and --max-steps set; raise them, or give another --checkpoint-dir");
        }
    }

    /// <summary>Takes weights and optimizer to where they were.</summary>
    /// <exception cref="ConfigurationException">The optimizer's state is not in order, though its checksum is.</exception>
    public void Restore(ResolvedModel model, VectorBuffer weights, Optimizer optimizer)
    {
        Dictionary<string, SafetensorsTensor> state = _state.ToDictionary(static tensor => tensor.Name);
        foreach (OptimizerVector vector in optimizer.Vectors)
        {
            foreach (ParameterTensor tensor in model.Parameters)
            {
                string name = $"{tensor.Name}/{vector.Name}";
                if (!state.TryGetValue(name, out SafetensorsTensor? held) || held.Values.Length != tensor.Length)
                    throw new ConfigurationException($"{Path}: {OptimizerName} has no '{name}' of {tensor.Length} values");
                held.Values.CopyTo(vector.Values[tensor.Offset..]);
            }
        }

        _weights.CopyTo(weights.Values);
        optimizer.SkipTo(Position.Steps);
    }

    private static CheckpointFile Describe(string directory, string name)
    {
        using FileStream file = File.OpenRead(System.IO.Path.Combine(directory, name));
        return new CheckpointFile(name, file.Length, Convert.ToHexStringLower(SHA256.HashData(file)));
    }

    private static void Verify(string path, string name, CheckpointManifest manifest)
    {
        CheckpointFile expected = manifest.Files.FirstOrDefault(file => file.Name == name)
            ?? throw new InvalidDataException($"{CheckpointManifest.FileName} does not know {name}");
        try
        {
            FileInfo file = new(System.IO.Path.Combine(path, name));
            if (!file.Exists)
                throw new InvalidDataException($"{name} is missing");
            if (file.Length < expected.Bytes)
                throw new InvalidDataException($"{name} is truncated: {file.Length:N0} of {expected.Bytes:N0} bytes");
            if (file.Length > expected.Bytes)
                throw new InvalidDataException($"{name} is another file: it has {file.Length:N0} bytes, not {expected.Bytes:N0}");
            if (Describe(path, name).Sha256 != expected.Sha256)
                throw new InvalidDataException($"{name} is damaged: its checksum does not fit");
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new InvalidDataException($"{name} cannot be read: {FileFault.Describe(refusal)}", refusal);
        }
    }
}
