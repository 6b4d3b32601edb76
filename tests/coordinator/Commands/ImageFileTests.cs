using System.Text;
using CsCheck;
using Distributed.Coordinator.Commands;
using Distributed.Models;

namespace Distributed.Tests.Commands;

public sealed class ImageFileTests : IDisposable
{
    private static readonly SampleShape s_grey = new(2, 3, 1);
    private static readonly SampleShape s_colour = new(2, 3, 3);
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"image-{Guid.NewGuid():N}");

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void Read_GreyPng_GivesItsPixelsOrTheirInverse()
    {
        byte[] pixels = [0, 1, 127, 128, 254, 255];
        File.WriteAllBytes(_path, TestImages.Png(3, 2, 1, pixels));
        Assert.Equal(pixels, ImageFile.Read(_path, s_grey, invert: false));
        Assert.Equal([255, 254, 128, 127, 1, 0], ImageFile.Read(_path, s_grey, invert: true));
        Assert.Equal(pixels.SelectMany(static pixel => new[] { pixel, pixel, pixel }), ImageFile.Read(_path, s_colour, invert: false));
    }

    [Fact]
    public void Read_ColourPng_BecomesLuminanceOrStaysColour()
    {
        byte[] pixels = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9, 255, 255, 255, 0, 0, 0];
        File.WriteAllBytes(_path, TestImages.Png(3, 2, 3, pixels));
        Assert.Equal([76, 150, 29, 9, 255, 0], ImageFile.Read(_path, s_grey, invert: false));
        Assert.Equal(pixels, ImageFile.Read(_path, s_colour, invert: false));
    }

    [Fact]
    public void Read_TransparentPixels_AreBackgroundEitherWay()
    {
        File.WriteAllBytes(_path, TestImages.Png(3, 2, 2, [255, 0, 0, 0, 255, 255, 0, 255, 200, 0, 100, 255]));
        Assert.Equal([0, 0, 255, 0, 0, 100], ImageFile.Read(_path, s_grey, invert: false));
        Assert.Equal([0, 0, 0, 255, 0, 155], ImageFile.Read(_path, s_grey, invert: true));
    }

    [Theory]
    [InlineData("P2\n3 2\n255\n0 1 127\n128 254 255\n", new byte[] { 0, 1, 127, 128, 254, 255 })]
    [InlineData("P2 # comment\n# another\n3\t2 15 0 1 2 3 14 15", new byte[] { 0, 17, 34, 51, 238, 255 })]
    [InlineData("P5 3 2 255 abcdef", new byte[] { 97, 98, 99, 100, 101, 102 })]
    [InlineData("P5 3 2 32767 \0\0@\0\u007f\u007f\u007f\0\0\0\0\0", new byte[] { 0, 128, 254, 253, 0, 0 })]
    public void Read_GrayMap_IsBroughtToEightBits(string content, byte[] pixels)
    {
        File.WriteAllBytes(_path, Encoding.Latin1.GetBytes(content));
        Assert.Equal(pixels, ImageFile.Read(_path, s_grey, invert: false));
    }

    [Theory]
    [InlineData("P2 3 2 255 1 2 3 4 5", "not a valid PGM file: truncated: 3x2 pixels need at least 11 bytes, 10 follow the header")]
    [InlineData("P2 3 2 255 1 2 3 4 55555", "not a valid PGM file: its pixel is out of range; expected 0 to 255")]
    [InlineData("P2 3 2 255 1 2 3 4 5 x", "not a valid PGM file: its pixel is not a number")]
    [InlineData("P5 3 2 255 abcde", "not a valid PGM file: truncated: 3x2 pixels need at least 7 bytes, 6 follow the header")]
    [InlineData("P5 3 2 9 abcdef", "not a valid PGM file: a pixel of 97, more than its maximum 9")]
    [InlineData("P5 0 2 9 a", "not a valid PGM file: its width is out of range; expected 1 to 32768")]
    [InlineData("P5 3", "not a valid PGM file: truncated: its height is missing")]
    [InlineData("P2 2 3 9 1 2 3 4 5 6", "is 2 pixels wide and 3 high; the model takes 3 by 2")]
    [InlineData("GIF89a", "neither a PNG nor a PGM file")]
    [InlineData("", "neither a PNG nor a PGM file")]
    [InlineData("\u0089PNG\r\n\u001a\n", "not a valid PNG file")]
    public void Read_WrongFile_IsOneLine(string content, string fault)
    {
        File.WriteAllBytes(_path, Encoding.Latin1.GetBytes(content));
        AssertFault(fault, s_grey);
    }

    [Fact]
    public void Read_FileOfAnotherSize_NamesBothSizes()
    {
        File.WriteAllBytes(_path, TestImages.Png(28, 20, 1, new byte[560]));
        AssertFault("is 28 pixels wide and 20 high; the model takes 3 by 2", s_grey);
    }

    [Fact]
    public void Read_MissingFileOrDirectory_IsOneLine()
    {
        AssertFault("no such file", s_grey);
        Assert.EndsWith("is a directory, not a file", Assert.Throws<ConfigurationException>(() => ImageFile.Read(Path.GetTempPath(), s_grey, false)).Message);
    }

    [Fact]
    public void Read_DamagedPng_IsImageOrOneLine()
    {
        byte[] png = TestImages.Png(3, 2, 3, new byte[18]);
        Gen.Select(Gen.Int[0, png.Length - 1], Gen.Byte, Gen.Int[8, png.Length]).Sample(
            (position, value, length) =>
            {
                byte[] damaged = [.. png];
                damaged[position] = value;
                File.WriteAllBytes(_path, damaged[..length]);
                try
                {
                    Assert.Equal(6, ImageFile.Read(_path, s_grey, invert: false).Length);
                }
                catch (ConfigurationException fault)
                {
                    Assert.DoesNotContain('\n', fault.Message);
                }
            },
            iter: 500,
            threads: 1);
    }

    private void AssertFault(string fault, SampleShape shape) =>
        Assert.Equal($"{_path}: {fault}", Assert.Throws<ConfigurationException>(() => ImageFile.Read(_path, shape, invert: false)).Message);
}
