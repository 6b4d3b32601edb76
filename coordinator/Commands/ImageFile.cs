using Distributed.Data;
using Distributed.Models;
using StbImageSharp;

namespace Distributed.Coordinator.Commands;

/// <summary>Reads PNG and PGM files as a model takes them.</summary>
internal static class ImageFile
{
    private const int MaxFileLength = 64 << 20;

    private static ReadOnlySpan<byte> PngSignature => [0x89, (byte)'P', (byte)'N', (byte)'G', 0x0d, 0x0a, 0x1a, 0x0a];

    /// <summary>Pixels (H, W, C), light on dark. Colour becomes luminance for a model of one channel; what is transparent becomes background.</summary>
    /// <param name="shape">The model's image: 1 or 3 channels.</param>
    /// <param name="invert">The file is dark on light.</param>
    /// <exception cref="ConfigurationException">It cannot be read, is of another kind, or not of the model's size.</exception>
    public static byte[] Read(string path, SampleShape shape, bool invert)
    {
        if (shape.Channels is not (1 or 3))
            throw new ConfigurationException($"{path}: the model takes images of {shape.Channels} channels, which no PNG or PGM file has; use idx:N");
        byte[] content = ReadContent(path);
        if (content.AsSpan().StartsWith(PngSignature))
            return ReadPng(path, content, shape, invert);
        if (PortableGrayMap.IsOne(content))
        {
            PortableGrayMap image = PortableGrayMap.Parse(path, content);
            CheckSize(path, image.Width, image.Height, shape);
            return Convert(image.Pixels, 1, shape, invert);
        }

        throw new ConfigurationException($"{path}: neither a PNG nor a PGM file");
    }

    private static byte[] ReadContent(string path)
    {
        try
        {
            FileInfo file = new(path);
            if (file.Exists && file.Length > MaxFileLength)
                throw new ConfigurationException($"{path}: {file.Length:N0} bytes are too many for an image of the model's size");
            return File.ReadAllBytes(path);
        }
        catch (Exception refusal) when (refusal is IOException or UnauthorizedAccessException)
        {
            string fault = refusal switch
            {
                FileNotFoundException or DirectoryNotFoundException => "no such file",
                UnauthorizedAccessException => Directory.Exists(path) ? "is a directory, not a file" : "permission denied",
                _ => refusal.Message,
            };
            throw new ConfigurationException($"{path}: {fault}", refusal);
        }
    }

    private static byte[] ReadPng(string path, byte[] content, SampleShape shape, bool invert)
    {
        // The header alone first: a small file may unpack to a huge image.
        using MemoryStream stream = new(content);
        if (ImageInfo.FromStream(stream) is not { } info)
            throw new ConfigurationException($"{path}: not a valid PNG file");
        CheckSize(path, info.Width, info.Height, shape);
        try
        {
            ImageResult image = ImageResult.FromMemory(content, ColorComponents.Default);
            return Convert(image.Data, (int)image.Comp, shape, invert);
        }
        catch (Exception fault) when (fault is not OutOfMemoryException)
        {
            // The decoder has no exception type of its own; on damaged data it throws whatever its arrays do.
            throw new ConfigurationException($"{path}: the PNG file is damaged", fault);
        }
    }

    private static void CheckSize(string path, int width, int height, SampleShape shape)
    {
        if (width != shape.Width || height != shape.Height)
            throw new ConfigurationException($"{path}: is {width} pixels wide and {height} high; the model takes {shape.Width} by {shape.Height}");
    }

    /// <summary>From 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) components to the model's channels.</summary>
    private static byte[] Convert(byte[] source, int components, SampleShape shape, bool invert)
    {
        byte[] pixels = new byte[shape.Length];
        bool hasAlpha = components is 2 or 4;
        int colours = hasAlpha ? components - 1 : components;
        for (int i = 0; i < shape.Height * shape.Width; i++)
        {
            ReadOnlySpan<byte> from = source.AsSpan(i * components, components);
            int alpha = hasAlpha ? from[^1] : 255;
            for (int channel = 0; channel < shape.Channels; channel++)
            {
                int value = colours == 1 ? from[0] : shape.Channels == 3 ? from[channel] : Luminance(from);
                // Over black where light is drawn on dark, over white where it is inverted: background is 0 either way.
                pixels[(i * shape.Channels) + channel] = (byte)((((invert ? 255 - value : value) * alpha) + 127) / 255);
            }
        }

        return pixels;
    }

    /// <summary>ITU-R BT.601; grey stays what it is.</summary>
    private static int Luminance(ReadOnlySpan<byte> rgb) => ((299 * rgb[0]) + (587 * rgb[1]) + (114 * rgb[2]) + 500) / 1000;
}
