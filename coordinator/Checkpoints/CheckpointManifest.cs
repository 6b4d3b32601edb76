using System.Buffers;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization;
using Distributed.Coordinator.Training;
using Distributed.Data;

namespace Distributed.Coordinator.Checkpoints;

/// <summary>One file of a checkpoint.</summary>
/// <param name="Sha256">Of its bytes, in lower-case hexadecimal.</param>
internal sealed record CheckpointFile(string Name, long Bytes, string Sha256);

/// <summary>
/// manifest.json: what a checkpoint consists of, where in the run it was taken and of which run. It carries a checksum of
/// itself, so that a bit flipped in it is noticed as well.
/// </summary>
internal sealed record CheckpointManifest(
    DateTimeOffset Written, Dictionary<string, string> Settings, RunPosition Position, IReadOnlyList<CheckpointFile> Files)
{
    public const string FileName = "manifest.json";

    private const string Format = "distributed-checkpoint";
    private const int Version = 1;

    // Reports of a million epochs.
    private const long MostBytes = 1L << 30;

    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public void Write(string directory)
    {
        byte[] content = JsonSerializer.SerializeToUtf8Bytes(this, CheckpointContext.Default.CheckpointManifest);
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer, new JsonWriterOptions { Indented = true }))
        {
            writer.WriteStartObject();
            writer.WriteString("format", Format);
            writer.WriteNumber("version", Version);
            writer.WriteString("sha256", Convert.ToHexStringLower(SHA256.HashData(content)));
            writer.WritePropertyName("checkpoint");
            writer.WriteRawValue(content, skipInputValidation: true);
            writer.WriteEndObject();
        }

        AtomicFile.WriteAllBytes(Path.Combine(directory, FileName), buffer.WrittenSpan);
    }

    /// <exception cref="InvalidDataException">The manifest is missing, damaged or not one: a few words that begin with its name.</exception>
    public static CheckpointManifest Read(string directory)
    {
        try
        {
            FileInfo file = new(Path.Combine(directory, FileName));
            if (!file.Exists)
                throw new InvalidDataException($"{FileName} is missing");
            if (file.Length > MostBytes)
                throw new InvalidDataException($"{FileName} is not a checkpoint's: it has {file.Length:N0} bytes");
            return Parse(File.ReadAllBytes(file.FullName));
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new InvalidDataException($"{FileName} cannot be read: {FileFault.Describe(refusal)}", refusal);
        }
        catch (Exception fault) when (fault is JsonException or InvalidOperationException or NotSupportedException)
        {
            throw new InvalidDataException($"{FileName} is damaged: it is not valid JSON", fault);
        }
    }

    private static CheckpointManifest Parse(byte[] text)
    {
        using JsonDocument document = JsonDocument.Parse(text);
        JsonElement root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object || !IsText(root, "format", out string format) || format != Format)
            throw new InvalidDataException($"{FileName} is not a checkpoint's: it was written by something else");
        if (!root.TryGetProperty("version", out JsonElement version) || version.ValueKind != JsonValueKind.Number || !version.TryGetInt32(out int number))
            throw new InvalidDataException($"{FileName} is damaged: it has no version");
        if (number != Version)
            throw new InvalidDataException($"{FileName} is of version {number}; this program reads version {Version}");
        if (!IsText(root, "sha256", out string sha256) || !root.TryGetProperty("checkpoint", out JsonElement content)
            || Convert.ToHexStringLower(SHA256.HashData(JsonMarshal.GetRawUtf8Value(content))) != sha256)
        {
            throw new InvalidDataException($"{FileName} is damaged: its checksum does not fit");
        }

        return content.Deserialize(CheckpointContext.Default.CheckpointManifest) is { Settings: not null, Position: not null, Files: not null } manifest
            ? manifest
            : throw new InvalidDataException($"{FileName} is not in order");
    }

    private static bool IsText(JsonElement root, string name, out string text)
    {
        bool isText = root.TryGetProperty(name, out JsonElement element) && element.ValueKind == JsonValueKind.String;
        text = isText ? element.GetString()! : "";
        return isText;
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(CheckpointManifest))]
internal sealed partial class CheckpointContext : JsonSerializerContext;
