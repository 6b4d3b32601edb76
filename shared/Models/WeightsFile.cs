using System.Text;

namespace Distributed.Models;

/// <summary>
/// model.safetensors: a trained model, complete. Tensors are under Keras' names in Keras' shapes; the metadata holds the
/// model itself and what it was trained for, so that nothing else is needed to use it.
/// </summary>
/// <param name="Path">Where it was read from.</param>
/// <param name="Model">The model, fitted to its data.</param>
/// <param name="Dataset">What it was trained on, as --dataset takes it.</param>
/// <param name="Parameters">P values in <see cref="ResolvedModel.Parameters"/> order.</param>
public sealed record WeightsFile(string Path, ResolvedModel Model, string Dataset, float[] Parameters)
{
    private const string ModelKey = "model";
    private const string DatasetKey = "dataset";
    private const string InputKey = "input_shape";
    private const string ClassesKey = "classes";

    /// <summary>Writes a file that appears whole or not at all.</summary>
    /// <param name="dataset">What the model was trained on: <see cref="Data.Dataset.Source"/>.</param>
    /// <param name="parameters">P values in <see cref="ResolvedModel.Parameters"/> order.</param>
    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public static void Write(string path, ResolvedModel model, string dataset, ReadOnlyMemory<float> parameters)
    {
        if (parameters.Length != model.ParameterCount)
            throw new ArgumentException($"the model has {model.ParameterCount} parameters, not {parameters.Length}", nameof(parameters));
        Dictionary<string, string> metadata = new()
        {
            ["format"] = "keras",
            [ModelKey] = Encoding.UTF8.GetString(ModelJson.Write(model.Definition)),
            [DatasetKey] = dataset,
            [InputKey] = $"{model.Input.Height},{model.Input.Width},{model.Input.Channels}",
            [ClassesKey] = $"{model.Classes}",
        };
        SafetensorsFile.Write(path, metadata, [.. model.Parameters.Select(tensor =>
            new SafetensorsTensor(tensor.Name, tensor.Shape, parameters.Slice(tensor.Offset, tensor.Length)))]);
    }

    /// <summary>Reads a file that <see cref="Write"/> wrote.</summary>
    /// <exception cref="ConfigurationException">The file is not one, is damaged, or its tensors are not the model's.</exception>
    public static WeightsFile Read(string path)
    {
        SafetensorsFile file = SafetensorsFile.Read(path);
        ResolvedModel model = ReadModel(path, file.Metadata);
        Dictionary<string, SafetensorsTensor> tensors = file.Tensors.ToDictionary(static tensor => tensor.Name);
        float[] parameters = new float[model.ParameterCount];
        foreach (ParameterTensor expected in model.Parameters)
        {
            if (!tensors.Remove(expected.Name, out SafetensorsTensor? tensor))
                throw new ConfigurationException($"{path}: tensor '{expected.Name}' is missing");
            if (!tensor.Shape.AsSpan().SequenceEqual(expected.Shape))
                throw new ConfigurationException($"{path}: tensor '{expected.Name}' has the shape ({string.Join(", ", tensor.Shape)}); expected ({string.Join(", ", expected.Shape)})");
            foreach (float value in tensor.Values.Span)
            {
                if (!float.IsFinite(value))
                    throw new ConfigurationException($"{path}: tensor '{expected.Name}' holds the value {value}; weights must be finite");
            }

            tensor.Values.Span.CopyTo(parameters.AsSpan(expected.Offset));
        }

        if (tensors.Count > 0)
            throw new ConfigurationException($"{path}: tensor '{tensors.Keys.First()}' is not one of the model's");
        return new WeightsFile(path, model, file.Metadata[DatasetKey], parameters);
    }

    private static ResolvedModel ReadModel(string path, IReadOnlyDictionary<string, string> metadata)
    {
        foreach (string key in (ReadOnlySpan<string>)[ModelKey, DatasetKey, InputKey, ClassesKey])
        {
            if (!metadata.ContainsKey(key))
                throw new ConfigurationException($"{path}: its metadata holds no '{key}'; expected a file that training wrote");
        }

        ModelDefinition definition = ModelJson.Read(Encoding.UTF8.GetBytes(metadata[ModelKey]), $"{path}: model");
        string[] extents = metadata[InputKey].Split(',');
        if (extents.Length != 3
            || !int.TryParse(extents[0], out int height) || !int.TryParse(extents[1], out int width) || !int.TryParse(extents[2], out int channels)
            || height < 1 || width < 1 || channels < 1 || (Int128)height * width * channels > ModelResolver.MaxActivations)
        {
            throw new ConfigurationException($"{path}: its metadata's '{InputKey}' is '{metadata[InputKey]}'; expected height,width,channels");
        }

        if (!int.TryParse(metadata[ClassesKey], out int classes) || classes is < 2 or > 256)
            throw new ConfigurationException($"{path}: its metadata's '{ClassesKey}' is '{metadata[ClassesKey]}'; expected 2 to 256");
        try
        {
            return ModelResolver.Resolve(definition, new SampleShape(height, width, channels), classes);
        }
        catch (ConfigurationException fault)
        {
            throw new ConfigurationException($"{path}: {fault.Message}", fault);
        }
    }
}
