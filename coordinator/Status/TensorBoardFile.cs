using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using Google.Protobuf;

namespace Distributed.Coordinator.Status;

/// <summary>
/// An event file of TensorBoard: TFRecords (length, its masked CRC-32C, the bytes, their masked CRC-32C), each an Event
/// message of tensorflow/core/util/event.proto with scalar summaries. Numbers of fields are from there.
/// </summary>
internal sealed class TensorBoardFile : IDisposable
{
    private const int WallTime = 1, Step = 2, FileVersion = 3, Summary = 5;
    private const int SummaryValue = 1, Tag = 1, SimpleValue = 2;

    private readonly FileStream _stream;

    private TensorBoardFile(FileStream stream) => _stream = stream;

    /// <summary>Begins a file under the name that TensorBoard looks for.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public static TensorBoardFile Create(string directory, DateTimeOffset now)
    {
        Directory.CreateDirectory(directory);
        string name = string.Create(CultureInfo.InvariantCulture, $"events.out.tfevents.{now.ToUnixTimeSeconds()}.{Environment.MachineName}.{Environment.ProcessId}.0.v2");
        TensorBoardFile file = new(new FileStream(Path.Combine(directory, name), FileMode.Create, FileAccess.Write, FileShare.Read));
        file.Append(Message(output =>
        {
            WriteTime(output, now);
            output.WriteTag(FileVersion, WireFormat.WireType.LengthDelimited);
            output.WriteString("brain.Event:2");
        }));
        return file;
    }

    /// <summary>Appends one event.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(DateTimeOffset time, long step, params ReadOnlySpan<(string Tag, double Value)> scalars)
    {
        List<byte[]> values = [];
        foreach ((string tag, double value) in scalars)
        {
            values.Add(Message(output =>
            {
                output.WriteTag(Tag, WireFormat.WireType.LengthDelimited);
                output.WriteString(tag);
                output.WriteTag(SimpleValue, WireFormat.WireType.Fixed32);
                output.WriteFloat((float)value);
            }));
        }

        byte[] summary = Message(output => values.ForEach(value => WriteBytes(output, SummaryValue, value)));
        Append(Message(output =>
        {
            WriteTime(output, time);
            output.WriteTag(Step, WireFormat.WireType.Varint);
            output.WriteInt64(step);
            WriteBytes(output, Summary, summary);
        }));
    }

    public void Flush() => _stream.Flush();

    public void Dispose() => _stream.Dispose();

    /// <summary>CRC-32C, rotated and shifted as TFRecords want it, since they may hold checksums themselves.</summary>
    internal static uint MaskedCrc(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in bytes)
            crc = BitOperations.Crc32C(crc, value);
        return BitOperations.RotateRight(~crc, 15) + 0xA282_EAD8;
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using MemoryStream bytes = new();
        using (CodedOutputStream output = new(bytes, leaveOpen: true))
            write(output);
        return bytes.ToArray();
    }

    private static void WriteTime(CodedOutputStream output, DateTimeOffset time)
    {
        output.WriteTag(WallTime, WireFormat.WireType.Fixed64);
        output.WriteDouble(time.ToUnixTimeMilliseconds() / 1e3);
    }

    private static void WriteBytes(CodedOutputStream output, int field, byte[] bytes)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteBytes(ByteString.CopyFrom(bytes));
    }

    private void Append(ReadOnlySpan<byte> record)
    {
        Span<byte> head = stackalloc byte[12];
        Span<byte> tail = stackalloc byte[4];
        BinaryPrimitives.WriteUInt64LittleEndian(head, (ulong)record.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(head[8..], MaskedCrc(head[..8]));
        BinaryPrimitives.WriteUInt32LittleEndian(tail, MaskedCrc(record));
        _stream.Write(head);
        _stream.Write(record);
        _stream.Write(tail);
    }
}
