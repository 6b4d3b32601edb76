using Distributed.Data;

namespace Distributed.Tests.Data;

public sealed class DatasetReaderTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Read_PlainOrGzip_GivesImagesAndLabels(bool gzip)
    {
        using TinyDataset tiny = new(train: 50, test: 20, height: 5, width: 7, classes: 4, gzip: gzip);
        LocatedDataset located = DatasetReader.Read(tiny.Directory, catalog: null);
        Dataset dataset = located.Dataset;
        Assert.Equal((50, 20, 4), (dataset.Train.Count, dataset.Test.Count, dataset.Classes));
        Assert.Equal(new(5, 7, 1), dataset.Shape);
        Assert.Equal(tiny.Directory, dataset.Source);
        Assert.False(located.IsVerified);
        Assert.Equal(3, dataset.Train.Labels[7]);
        // Class 3 has its bar in the fourth eighth of 35 / 4 = 8 pixels.
        Assert.All(dataset.Train.Image(7)[24..32].ToArray(), static pixel => Assert.Equal(255, pixel));
    }

    [Fact]
    public void Read_PlainAndGzip_HaveOneFingerprintAndOtherDataAnother()
    {
        using TinyDataset plain = new();
        using TinyDataset packed = new(gzip: true);
        using TinyDataset other = new(test: 41);
        string fingerprint = DatasetReader.Read(plain.Directory, null).Dataset.Fingerprint;
        Assert.Equal(fingerprint, DatasetReader.Read(packed.Directory, null).Dataset.Fingerprint);
        Assert.NotEqual(fingerprint, DatasetReader.Read(other.Directory, null).Dataset.Fingerprint);
    }

    [Fact]
    public void Read_Colour_HasChannels()
    {
        using TinyDataset tiny = new(height: 6, width: 5, channels: 3);
        Assert.Equal(new(6, 5, 3), DatasetReader.Read(tiny.Directory, null).Dataset.Shape);
    }

    [Fact]
    public void Read_NamesWithDot_AreFound()
    {
        using TinyDataset tiny = new();
        File.Move(tiny.PathOf(TinyDataset.TrainImages), tiny.PathOf("train-images.idx3-ubyte"));
        Assert.Equal(96, DatasetReader.Read(tiny.Directory, null).Dataset.Train.Count);
    }

    [Fact]
    public void Read_MissingDirectory_IsOneLine() => AssertFault("/no/such/place", "/no/such/place: cannot be read: no such directory");

    [Fact]
    public void Read_FileForDirectory_IsOneLine()
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TestLabels);
        AssertFault(path, $"{path}: is a file, not a directory");
    }

    [Theory]
    [InlineData(TinyDataset.TrainImages, "training images")]
    [InlineData(TinyDataset.TrainLabels, "training labels")]
    [InlineData(TinyDataset.TestImages, "test images")]
    [InlineData(TinyDataset.TestLabels, "test labels")]
    public void Read_MissingFile_IsNamed(string name, string what)
    {
        using TinyDataset tiny = new();
        File.Delete(tiny.PathOf(name));
        AssertFault(tiny.Directory, $"{tiny.Directory}: the file of {what} is missing: {name}, with or without .gz");
    }

    [Theory]
    [InlineData(false, "truncated: 96 images of 12x10 need 11,536 bytes, the file has 11,535")]
    [InlineData(true, "truncated: 96 images of 12x10 need 11,536 bytes, the file has 11,535")]
    public void Read_TruncatedImages_IsOneLine(bool gzip, string fault)
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TrainImages);
        byte[] shorter = File.ReadAllBytes(path)[..^1];
        File.WriteAllBytes(path, gzip ? TinyDataset.Gzip(shorter) : shorter);
        AssertFault(tiny.Directory, $"{path}: {fault}");
    }

    [Fact]
    public void Read_TruncatedGzip_IsOneLine()
    {
        using TinyDataset tiny = new(gzip: true);
        string path = tiny.PathOf(TinyDataset.TestImages + ".gz");
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..200]);
        ConfigurationException fault = Assert.Throws<ConfigurationException>(() => DatasetReader.Read(tiny.Directory, null));
        Assert.StartsWith($"{path}: ", fault.Message);
        Assert.Contains("truncated", fault.Message);
    }

    [Fact]
    public void Read_DamagedGzip_IsOneLine()
    {
        using TinyDataset tiny = new(gzip: true);
        string path = tiny.PathOf(TinyDataset.TestImages + ".gz");
        byte[] content = File.ReadAllBytes(path);
        content[10] = 0x07; // a block of the reserved kind
        File.WriteAllBytes(path, content);
        AssertFault(tiny.Directory, $"{path}: the gzip data is damaged or truncated");
    }

    [Fact]
    public void Read_LongerThanItsHeader_IsOneLine()
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TestLabels);
        File.AppendAllText(path, "x");
        AssertFault(tiny.Directory, $"{path}: longer than its header says: 40 labels need 48 bytes");
    }

    [Theory]
    [InlineData(new byte[0], "the file is empty")]
    [InlineData(new byte[] { 0, 0, 8 }, "truncated within its header")]
    [InlineData(new byte[] { 0, 0, 8, 1, 0, 0 }, "truncated within its header")]
    [InlineData(new byte[] { 0, 0, 8, 3, 0, 0, 0, 0 }, "wrong magic number 0x00000803; a file of labels begins with 0x00000801")]
    [InlineData(new byte[] { 0, 0, 0xd, 1, 0, 0, 0, 0 }, "wrong magic number 0x00000d01; a file of labels begins with 0x00000801")]
    [InlineData(new byte[] { 0, 0, 8, 1, 0, 0, 0, 0 }, "holds no labels: its header says 0 labels")]
    [InlineData(new byte[] { 0, 0, 8, 1, 0xff, 0, 0, 0 }, "its header has a negative size, -16777216")]
    [InlineData(new byte[] { 0, 0, 8, 1, 0x7f, 0xff, 0xff, 0xff }, "2,147,483,647 labels are more than can be held in memory")]
    public void Read_WrongHeader_IsOneLine(byte[] content, string fault)
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TrainLabels);
        File.WriteAllBytes(path, content);
        AssertFault(tiny.Directory, $"{path}: {fault}");
    }

    [Fact]
    public void Read_OneLabelLess_IsMismatch()
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TrainLabels);
        File.WriteAllBytes(path, TinyDataset.Idx(File.ReadAllBytes(path).AsSpan()[8..^1], 95));
        AssertFault(tiny.Directory, $"{path}: 95 labels, but {TinyDataset.TrainImages} has 96 images");
    }

    [Fact]
    public void Read_TestLabelOutOfRange_IsNamed()
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TestLabels);
        byte[] labels = File.ReadAllBytes(path)[8..];
        labels[17] = 10;
        File.WriteAllBytes(path, TinyDataset.Idx(labels, labels.Length));
        AssertFault(tiny.Directory, $"{path}: label 17 is 10, out of range: the training labels are 0 to 9");
    }

    [Fact]
    public void Read_TestImagesOfAnotherSize_AreRefused()
    {
        using TinyDataset tiny = new();
        string path = tiny.PathOf(TinyDataset.TestImages);
        File.WriteAllBytes(path, TinyDataset.Idx(File.ReadAllBytes(path).AsSpan(16), 40, 10, 12));
        AssertFault(tiny.Directory, $"{path}: images of 10x12x1, but those of {TinyDataset.TrainImages} are 12x10x1");
    }

    [Fact]
    public void Read_OtherDataUnderPublishedName_IsRefused()
    {
        using TinyDataset tiny = new();
        ConfigurationException fault = Assert.Throws<ConfigurationException>(() => DatasetReader.Read(tiny.Directory, DatasetCatalog.Mnist));
        Assert.StartsWith($"{tiny.PathOf(TinyDataset.TrainImages)}: not mnist's file: its SHA-256 is ", fault.Message);
    }

    private static void AssertFault(string directory, string message) =>
        Assert.Equal(message, Assert.Throws<ConfigurationException>(() => DatasetReader.Read(directory, null)).Message);
}
