using System.Buffers.Binary;
using System.IO.Compression;

namespace Distributed.Tests.Data;

/// <summary>
/// A small data set in a directory of its own, removed with it: IDX files of random images whose class can be learnt,
/// since each class has a bright bar of its own.
/// </summary>
public sealed class TinyDataset : IDisposable
{
    public const string TrainImages = "train-images-idx3-ubyte";
    public const string TrainLabels = "train-labels-idx1-ubyte";
    public const string TestImages = "t10k-images-idx3-ubyte";
    public const string TestLabels = "t10k-labels-idx1-ubyte";

    public TinyDataset(int train = 96, int test = 40, int height = 12, int width = 10, int channels = 1, int classes = 10, bool gzip = false)
    {
        Directory = System.IO.Directory.CreateTempSubdirectory("tiny-dataset-").FullName;
        (Height, Width, Channels, Classes) = (height, width, channels, classes);
        Write("train", train, gzip, seed: 1);
        Write("t10k", test, gzip, seed: 2);
    }

    public string Directory { get; }

    public int Height { get; }

    public int Width { get; }

    public int Channels { get; }

    public int Classes { get; }

    public static IReadOnlyList<string> FileNames { get; } = [TrainImages, TrainLabels, TestImages, TestLabels];

    /// <summary>An IDX file of unsigned bytes.</summary>
    public static byte[] Idx(ReadOnlySpan<byte> values, params ReadOnlySpan<int> extents)
    {
        byte[] file = new byte[4 + (4 * extents.Length) + values.Length];
        BinaryPrimitives.WriteInt32BigEndian(file, 0x0800 | extents.Length);
        for (int i = 0; i < extents.Length; i++)
            BinaryPrimitives.WriteInt32BigEndian(file.AsSpan(4 + (4 * i)), extents[i]);
        values.CopyTo(file.AsSpan(4 + (4 * extents.Length)));
        return file;
    }

    public static byte[] Gzip(ReadOnlySpan<byte> content)
    {
        using MemoryStream packed = new();
        using (GZipStream gzip = new(packed, CompressionLevel.Fastest))
            gzip.Write(content);
        return packed.ToArray();
    }

    public string PathOf(string name) => Path.Combine(Directory, name);

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);

    private void Write(string stem, int count, bool gzip, int seed)
    {
        Random random = new(seed);
        byte[] labels = new byte[count];
        int length = Height * Width * Channels;
        byte[] images = new byte[count * length];
        random.NextBytes(images);
        for (int i = 0; i < count; i++)
        {
            labels[i] = (byte)(i % Classes);
            int bar = length / Classes;
            for (int p = 0; p < length; p++)
                images[(i * length) + p] = bar > 0 && p / bar == labels[i] ? (byte)255 : (byte)(images[(i * length) + p] / 8);
        }

        byte[] imageFile = Channels == 1 ? Idx(images, count, Height, Width) : Idx(images, count, Height, Width, Channels);
        WriteFile($"{stem}-images-idx3-ubyte", imageFile, gzip);
        WriteFile($"{stem}-labels-idx1-ubyte", Idx(labels, count), gzip);
    }

    private void WriteFile(string name, byte[] content, bool gzip) =>
        File.WriteAllBytes(PathOf(gzip ? name + ".gz" : name), gzip ? Gzip(content) : content);
}
