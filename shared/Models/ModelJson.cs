using System.Buffers;
using System.Text;
using System.Text.Json;

namespace Distributed.Models;

/// <summary>
/// A model as JSON in Keras' words:
/// <code>{"name": "mine", "layers": [{"layer": "Conv2D", "filters": 32, "kernel_size": [3, 3], "activation": "relu"}, ...]}</code>
/// Arguments have Keras' names and defaults; sizes are a number or [height, width].
/// </summary>
public static class ModelJson
{
    private static readonly JsonDocumentOptions s_options = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };

    /// <summary>Reads a model.</summary>
    /// <param name="json">UTF-8 text.</param>
    /// <param name="source">What to call it in messages: the file's path, or the built-in's name.</param>
    /// <param name="defaultName">The model's name where the text gives none.</param>
    /// <exception cref="ConfigurationException">The text is not a model: one line with the path of the fault and what was expected.</exception>
    public static ModelDefinition Read(ReadOnlyMemory<byte> json, string source, string defaultName = "model")
    {
        try
        {
            // A byte order mark is Windows' habit and no fault of the user's.
            if (json.Span.StartsWith(Encoding.UTF8.Preamble))
                json = json[Encoding.UTF8.Preamble.Length..];
            using JsonDocument document = JsonDocument.Parse(json, s_options);
            return ModelReader.Read(document.RootElement, source, defaultName);
        }
        catch (InvalidOperationException fault)
        {
            // What the parser lets through until the text is asked for: bytes that are not UTF-8, half a surrogate pair.
            throw new ConfigurationException($"{source}: a text in it is not valid Unicode", fault);
        }
        catch (JsonException fault)
        {
            string reason = fault.Message.Split(" LineNumber:", 2)[0].Trim().TrimEnd('.');
            throw new ConfigurationException($"{source}: line {fault.LineNumber + 1}, byte {fault.BytePositionInLine + 1}: not valid JSON: {reason}", fault);
        }
    }

    /// <summary>
    /// The canonical text: no white space, every argument written out, in a fixed order. Equal definitions give equal
    /// bytes, and reading them gives the definition back; this is what goes over the wire, into files and under hashes.
    /// </summary>
    public static byte[] Write(ModelDefinition model)
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("name", model.Name);
            writer.WriteStartArray("layers");
            foreach (LayerDefinition layer in model.Layers)
                WriteLayer(writer, layer);
            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return buffer.WrittenSpan.ToArray();
    }

    private static void WriteLayer(Utf8JsonWriter writer, LayerDefinition layer)
    {
        writer.WriteStartObject();
        writer.WriteString("layer", LayerWords.TypeName(layer));
        switch (layer)
        {
            case Conv2D conv:
                writer.WriteNumber("filters", conv.Filters);
                WriteSize(writer, "kernel_size", conv.KernelSize);
                WriteSize(writer, "strides", conv.Strides);
                writer.WriteString("padding", LayerWords.Word(conv.Padding));
                writer.WriteString("activation", LayerWords.Word(conv.Activation));
                break;
            case MaxPooling2D pool:
                WritePooling(writer, pool.PoolSize, pool.Strides, pool.Padding);
                break;
            case AveragePooling2D pool:
                WritePooling(writer, pool.PoolSize, pool.Strides, pool.Padding);
                break;
            case Dense dense:
                writer.WriteNumber("units", dense.Units);
                writer.WriteString("activation", LayerWords.Word(dense.Activation));
                break;
            case Dropout dropout:
                writer.WriteNumber("rate", dropout.Rate);
                break;
            case ActivationLayer activation:
                writer.WriteString("activation", LayerWords.Word(activation.Activation));
                break;
        }

        if (layer.Name is { } name)
            writer.WriteString("name", name);
        writer.WriteEndObject();
    }

    private static void WritePooling(Utf8JsonWriter writer, Size2D size, Size2D strides, Padding padding)
    {
        WriteSize(writer, "pool_size", size);
        WriteSize(writer, "strides", strides);
        writer.WriteString("padding", LayerWords.Word(padding));
    }

    private static void WriteSize(Utf8JsonWriter writer, string name, Size2D size)
    {
        writer.WriteStartArray(name);
        writer.WriteNumberValue(size.Height);
        writer.WriteNumberValue(size.Width);
        writer.WriteEndArray();
    }
}
