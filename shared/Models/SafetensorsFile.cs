using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using Distributed.Data;

namespace Distributed.Models;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Shape">Its extents.</param>
/// <param name="Values">Its values, last axis fastest.</param>
public sealed record SafetensorsTensor(string Name, int[] Shape, ReadOnlyMemory<float> Values);

/// <summary>
/// A file of float32 tensors in the safetensors format (https://github.com/huggingface/safetensors): the length of
/// the header as a little-endian uint64, the header in JSON, then the values little-endian, without gaps.
/// </summary>
public sealed record SafetensorsFile(IReadOnlyDictionary<string, string> Metadata, IReadOnlyList<SafetensorsTensor> Tensors)
{
    private const string MetadataName = "__metadata__";
    private const int LengthBytes = 8;

    // The reference implementation's own limit.
    private const int MaxHeaderLength = 100_000_000;

    // Readers that map the file into memory get aligned values.
    private const int Alignment = 64;

    /// <summary>Writes a file that appears whole or not at all.</summary>
    /// <exception cref="RunFailedException">The file cannot be written.</exception>
    public static void Write(string path, IReadOnlyDictionary<string, string> metadata, IReadOnlyList<SafetensorsTensor> tensors)
    {
        ReadOnlySpan<byte> header = CreateHeader(metadata, tensors);
        int padding = (Alignment - ((LengthBytes + header.Length) % Alignment)) % Alignment;
        Span<byte> length = stackalloc byte[LengthBytes];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length + padding);
        Span<byte> spaces = stackalloc byte[padding];
        spaces.Fill((byte)' ');

        using AtomicFile file = new(path);
        file.Write(length);
        file.Write(header);
        file.Write(spaces);
        foreach (SafetensorsTensor tensor in tensors)
            file.Write(WeightsHash.LittleEndianBytes(tensor.Values.Span));
        file.Commit();
    }

    /// <summary>Reads a file of float32 tensors.</summary>
    /// <exception cref="ConfigurationException">It cannot be read or is not such a file: one line naming file and fault.</exception>
    public static SafetensorsFile Read(string path)
    {
        byte[] content;
        try
        {
            content = File.ReadAllBytes(path);
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            string fault = Directory.Exists(path) ? "is a directory, not a file" : refusal is DirectoryNotFoundException ? "no such file" : FileFault.Describe(refusal);
            throw new ConfigurationException($"{path}: {fault}", refusal);
        }

        try
        {
            return Parse(content);
        }
        catch (InvalidOperationException fault)
        {
            // What the parser lets through until the text is asked for: bytes that are not UTF-8, half a surrogate pair.
            throw new ConfigurationException($"{path}: not a usable safetensors file: a text in its header is not valid Unicode", fault);
        }
        catch (InvalidDataException fault)
        {
            throw new ConfigurationException($"{path}: not a usable safetensors file: {fault.Message}", fault);
        }
    }

    private static ReadOnlySpan<byte> CreateHeader(IReadOnlyDictionary<string, string> metadata, IReadOnlyList<SafetensorsTensor> tensors)
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer))
        {
            writer.WriteStartObject();
            writer.WriteStartObject(MetadataName);
            foreach ((string key, string value) in metadata)
                writer.WriteString(key, value);
            writer.WriteEndObject();
            long offset = 0;
            foreach (SafetensorsTensor tensor in tensors)
            {
                writer.WriteStartObject(tensor.Name);
                writer.WriteString("dtype", "F32");
                writer.WriteStartArray("shape");
                foreach (int extent in tensor.Shape)
                    writer.WriteNumberValue(extent);
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(offset);
                writer.WriteNumberValue(offset += (long)tensor.Values.Length * sizeof(float));
                writer.WriteEndArray();
                writer.WriteEndObject();
            }

            writer.WriteEndObject();
        }

        return buffer.WrittenSpan;
    }

    private static SafetensorsFile Parse(byte[] content)
    {
        if (content.Length < LengthBytes)
            throw new InvalidDataException("truncated within the length of its header");
        ulong headerLength = BinaryPrimitives.ReadUInt64LittleEndian(content);
        if (headerLength > MaxHeaderLength)
            throw new InvalidDataException($"its header would have {headerLength:N0} bytes");
        if (headerLength > (ulong)(content.Length - LengthBytes))
            throw new InvalidDataException($"truncated within its header: {headerLength:N0} bytes of header, the file has {content.Length:N0} in all");

        ReadOnlyMemory<byte> data = content.AsMemory(LengthBytes + (int)headerLength);
        Dictionary<string, string> metadata = [];
        List<(SafetensorsTensor Tensor, long Begin, long End)> entries = [];
        using JsonDocument header = ParseHeader(content.AsMemory(LengthBytes, (int)headerLength));
        foreach (JsonProperty property in header.RootElement.EnumerateObject())
        {
            if (property.NameEquals(MetadataName))
                ReadMetadata(property.Value, metadata);
            else
                entries.Add(ReadTensor(property.Name, property.Value, data));
        }

        long expected = 0;
        foreach ((SafetensorsTensor tensor, long begin, long end) in entries.OrderBy(static entry => entry.Begin).ThenBy(static entry => entry.End))
        {
            if (begin != expected)
                throw new InvalidDataException($"tensor '{tensor.Name}' {(begin < expected ? "overlaps another" : "follows a gap")} at offset {begin:N0}");
            expected = end;
        }

        if (expected != data.Length)
            throw new InvalidDataException($"{data.Length - expected:N0} bytes follow the last tensor");
        return new SafetensorsFile(metadata, [.. entries.OrderBy(static entry => entry.Begin).Select(static entry => entry.Tensor)]);
    }

    private static JsonDocument ParseHeader(ReadOnlyMemory<byte> header)
    {
        try
        {
            JsonDocument document = JsonDocument.Parse(header, new JsonDocumentOptions { AllowDuplicateProperties = false });
            if (document.RootElement.ValueKind == JsonValueKind.Object)
                return document;
            document.Dispose();
            throw new InvalidDataException("its header is not a JSON object");
        }
        catch (JsonException fault)
        {
            throw new InvalidDataException("its header is not valid JSON", fault);
        }
    }

    private static void ReadMetadata(JsonElement element, Dictionary<string, string> metadata)
    {
        if (element.ValueKind != JsonValueKind.Object || element.EnumerateObject().Any(static pair => pair.Value.ValueKind != JsonValueKind.String))
            throw new InvalidDataException($"its {MetadataName} is not an object of texts");
        foreach (JsonProperty pair in element.EnumerateObject())
            metadata[pair.Name] = pair.Value.GetString()!;
    }

    private static (SafetensorsTensor Tensor, long Begin, long End) ReadTensor(string name, JsonElement element, ReadOnlyMemory<byte> data)
    {
        if (element.ValueKind != JsonValueKind.Object
            || !element.TryGetProperty("dtype", out JsonElement type) || type.ValueKind != JsonValueKind.String
            || !TryGetWholeNumbers(element, "shape", out long[] shape)
            || !TryGetWholeNumbers(element, "data_offsets", out long[] offsets) || offsets.Length != 2)
        {
            throw new InvalidDataException($"tensor '{name}' does not have dtype, shape and data_offsets");
        }

        if (!type.ValueEquals("F32"))
            throw new InvalidDataException($"tensor '{name}' is of type {type.GetString()}; expected F32");
        (long begin, long end) = (offsets[0], offsets[1]);
        if (end > data.Length)
            throw new InvalidDataException($"truncated: tensor '{name}' ends at byte {end:N0} of the values, there are {data.Length:N0}");
        Int128 length = shape.Contains(0) ? 0 : sizeof(float);
        foreach (long extent in shape)
            length = length > int.MaxValue ? length : length * extent;
        if (begin > end || length != end - begin)
            throw new InvalidDataException($"tensor '{name}' has the offsets {begin:N0} to {end:N0}, which do not fit its shape ({string.Join(", ", shape)})");

        ReadOnlySpan<byte> bytes = data.Span[(int)begin..(int)end];
        float[] values = new float[bytes.Length / sizeof(float)];
        bytes.CopyTo(MemoryMarshal.AsBytes(values.AsSpan()));
        if (!BitConverter.IsLittleEndian)
        {
            Span<int> words = MemoryMarshal.Cast<float, int>(values.AsSpan());
            BinaryPrimitives.ReverseEndianness(words, words);
        }

        return (new SafetensorsTensor(name, [.. shape.Select(static extent => (int)extent)], values), begin, end);
    }

    private static bool TryGetWholeNumbers(JsonElement element, string name, out long[] numbers)
    {
        numbers = [];
        if (!element.TryGetProperty(name, out JsonElement list) || list.ValueKind != JsonValueKind.Array || list.GetArrayLength() > 16)
            return false;
        numbers = new long[list.GetArrayLength()];
        for (int i = 0; i < numbers.Length; i++)
        {
            if (list[i].ValueKind != JsonValueKind.Number || !list[i].TryGetInt64(out numbers[i]) || numbers[i] is < 0 or > uint.MaxValue)
                return false;
        }

        return true;
    }
}
