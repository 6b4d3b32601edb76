using System.Buffers.Binary;
using System.Security.Cryptography;
using Distributed.Models;

namespace Distributed.Data;

/// <summary>Labelled images: pixels as unsigned bytes in (N, H, W, C) order, one label an image.</summary>
public sealed record ImageSet(byte[] Images, byte[] Labels, SampleShape Shape)
{
    public int Count => Labels.Length;

    /// <summary>The pixels of one image, (H, W, C).</summary>
    public ReadOnlySpan<byte> Image(int index) => Images.AsSpan(index * Shape.Length, Shape.Length);

    /// <summary>Writes one image as the network takes it: pixels divided by 255.</summary>
    public void CopyScaled(int index, Span<float> destination) => PixelScaling.Scale(Image(index), destination);
}

/// <summary>A data set in memory: a training and a test set of one image size.</summary>
public sealed class Dataset
{
    private readonly Lazy<string> _fingerprint;

    internal Dataset(string source, ImageSet train, ImageSet test)
    {
        Source = source;
        Train = train;
        Test = test;
        Classes = train.Labels.Max() + 1;
        _fingerprint = new Lazy<string>(ComputeFingerprint);
    }

    /// <summary>What to pass as --dataset to get it again: a name of the catalogue or the full path of a directory.</summary>
    public string Source { get; }

    public ImageSet Train { get; }

    public ImageSet Test { get; }

    /// <summary>Size of one image.</summary>
    public SampleShape Shape => Train.Shape;

    /// <summary>The largest label of the training set, plus one.</summary>
    public int Classes { get; }

    /// <summary>SHA-256 over sizes, images and labels, in lower-case hexadecimal: equal for equal data, wherever it came from.</summary>
    public string Fingerprint => _fingerprint.Value;

    private string ComputeFingerprint()
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Span<byte> sizes = stackalloc byte[16];
        foreach (ImageSet set in (ReadOnlySpan<ImageSet>)[Train, Test])
        {
            BinaryPrimitives.WriteInt32LittleEndian(sizes, set.Count);
            BinaryPrimitives.WriteInt32LittleEndian(sizes[4..], set.Shape.Height);
            BinaryPrimitives.WriteInt32LittleEndian(sizes[8..], set.Shape.Width);
            BinaryPrimitives.WriteInt32LittleEndian(sizes[12..], set.Shape.Channels);
            hash.AppendData(sizes);
            hash.AppendData(set.Images);
            hash.AppendData(set.Labels);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
