namespace Distributed.Models;

/// <summary>The models that have a name of their own, and how --model finds one.</summary>
public static class BuiltInModels
{
    private const int MaxFileLength = 16 << 20;

    /// <summary>The convolutional network of Chollet, "Deep Learning with Python" (2017), section 5.1: 93,322 parameters on MNIST.</summary>
    public static ModelDefinition ConvNet { get; } = Parse("convnet", """
        {
          "name": "convnet",
          "layers": [
            { "layer": "Conv2D", "filters": 32, "kernel_size": 3, "activation": "relu" },
            { "layer": "MaxPooling2D", "pool_size": 2 },
            { "layer": "Conv2D", "filters": 64, "kernel_size": 3, "activation": "relu" },
            { "layer": "MaxPooling2D", "pool_size": 2 },
            { "layer": "Conv2D", "filters": 64, "kernel_size": 3, "activation": "relu" },
            { "layer": "Flatten" },
            { "layer": "Dense", "units": 64, "activation": "relu" },
            { "layer": "Dense", "units": 10, "activation": "softmax" }
          ]
        }
        """u8);

    /// <summary>Its densely connected baseline, section 2.1: 407,050 parameters on MNIST.</summary>
    public static ModelDefinition Dense { get; } = Parse("dense", """
        {
          "name": "dense",
          "layers": [
            { "layer": "Flatten" },
            { "layer": "Dense", "units": 512, "activation": "relu" },
            { "layer": "Dense", "units": 10, "activation": "softmax" }
          ]
        }
        """u8);

    public static IReadOnlyList<ModelDefinition> All { get; } = [ConvNet, Dense];

    /// <summary>What --model names: a built-in, or a JSON file.</summary>
    /// <exception cref="ConfigurationException">Neither, or the file is not a model.</exception>
    public static ModelDefinition Load(string model)
    {
        if (All.FirstOrDefault(builtIn => builtIn.Name == model) is { } known)
            return known;
        try
        {
            FileInfo file = new(model);
            if (file.Exists && file.Length > MaxFileLength)
                throw new ConfigurationException($"{model}: {file.Length:N0} bytes are too many for a model");
            return ModelJson.Read(File.ReadAllBytes(model), model, DefaultName(model));
        }
        catch (Exception refusal) when (refusal is FileNotFoundException or DirectoryNotFoundException)
        {
            IEnumerable<string> names = All.Select(static builtIn => builtIn.Name);
            throw new ConfigurationException(
                $"--model: '{model}' is neither a built-in model ({string.Join(", ", names)}) nor a file{Suggestion.For(model, names)}", refusal);
        }
        catch (UnauthorizedAccessException refusal)
        {
            throw new ConfigurationException($"--model: {model}: {(Directory.Exists(model) ? "is a directory, not a file" : "permission denied")}", refusal);
        }
        catch (IOException refusal)
        {
            throw new ConfigurationException($"--model: {model}: cannot be read: {refusal.Message}", refusal);
        }
    }

    private static ModelDefinition Parse(string name, ReadOnlySpan<byte> json) => ModelJson.Read(json.ToArray(), name);

    /// <summary>The file's name without extension, with what a name cannot hold left out.</summary>
    private static string DefaultName(string path)
    {
        string name = string.Concat(Path.GetFileNameWithoutExtension(path).Where(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.'));
        return name.Length is 0 or > ModelReader.MaxNameLength ? "model" : name;
    }
}
