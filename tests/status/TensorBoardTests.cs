using System.Buffers.Binary;
using System.Text;
using Distributed.Coordinator.Status;
using Google.Protobuf;

namespace Distributed.Tests.Status;

/// <summary>Event files, read back by the format's description: once over its own code, never with the writer's.</summary>
public sealed class TensorBoardTests
{
    [Fact]
    public void File_ReadBack_HasEveryScalar()
    {
        string directory = Directory.CreateTempSubdirectory("tensorboard-").FullName;
        try
        {
            DateTimeOffset time = DateTimeOffset.FromUnixTimeMilliseconds(1_700_000_000_500);
            using (TensorBoardFile file = TensorBoardFile.Create(directory, time))
            {
                file.Write(time, 1, ("loss", 0.5), ("accuracy", 0.25));
                file.Write(time, 300, ("loss", 0.125));
            }

            string path = Assert.Single(Directory.GetFiles(directory));
            Assert.StartsWith("events.out.tfevents.1700000000.", Path.GetFileName(path), StringComparison.Ordinal);
            Event[] events = [.. Read(File.ReadAllBytes(path))];
            Assert.Equal("brain.Event:2", events[0].FileVersion);
            Assert.All(events, static one => Assert.Equal(1_700_000_000.5, one.WallTime));
            Assert.Equal([("loss", 0.5f), ("accuracy", 0.25f)], events[1].Scalars);
            Assert.Equal((300, ("loss", 0.125f)), (events[2].Step, Assert.Single(events[2].Scalars)));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public void Crc_OfTheStandardsExample_IsTheStandards()
    {
        Assert.Equal(0xE306_9283u, Crc("123456789"u8));
        Assert.Equal(Mask(0xE306_9283u), TensorBoardFile.MaskedCrc("123456789"u8));
    }

    internal static IEnumerable<Event> Read(byte[] file)
    {
        for (int at = 0; at < file.Length;)
        {
            int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.AsSpan(at));
            Assert.Equal(Mask(Crc(file.AsSpan(at, 8))), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 8)));
            byte[] record = file[(at + 12)..(at + 12 + length)];
            Assert.Equal(Mask(Crc(record)), BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 12 + length)));
            at += 16 + length;
            yield return Parse(record);
        }
    }

    // Bit by bit, as the polynomial says.
    private static uint Crc(ReadOnlySpan<byte> bytes)
    {
        uint crc = uint.MaxValue;
        foreach (byte value in bytes)
        {
            crc ^= value;
            for (int bit = 0; bit < 8; bit++)
                crc = (crc >> 1) ^ ((crc & 1) * 0x82F6_3B78);
        }

        return ~crc;
    }

    private static uint Mask(uint crc) => unchecked(((crc >> 15) | (crc << 17)) + 0xA282_EAD8);

    private static Event Parse(byte[] record)
    {
        Event result = new(0, 0, null, []);
        CodedInputStream input = new(record);
        while (input.ReadTag() is var tag and not 0)
        {
            result = WireFormat.GetTagFieldNumber(tag) switch
            {
                1 => result with { WallTime = input.ReadDouble() },
                2 => result with { Step = input.ReadInt64() },
                3 => result with { FileVersion = input.ReadString() },
                5 => result with { Scalars = [.. ParseSummary(input.ReadBytes().CreateCodedInput())] },
                _ => throw new InvalidDataException($"unknown field {tag}"),
            };
        }

        return result;
    }

    private static List<(string Tag, float Value)> ParseSummary(CodedInputStream input)
    {
        List<(string, float)> scalars = [];
        while (input.ReadTag() != 0)
        {
            CodedInputStream value = input.ReadBytes().CreateCodedInput();
            (string name, float number) = ("", float.NaN);
            while (value.ReadTag() is var tag and not 0)
                (name, number) = WireFormat.GetTagFieldNumber(tag) == 1 ? (value.ReadString(), number) : (name, value.ReadFloat());
            scalars.Add((name, number));
        }

        return scalars;
    }

    internal sealed record Event(double WallTime, long Step, string? FileVersion, List<(string Tag, float Value)> Scalars);
}
