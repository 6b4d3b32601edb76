using Distributed.Models;

namespace Distributed.Data;

/// <summary>A data set as it was found: the data, and the files it came from.</summary>
/// <param name="Dataset">The data.</param>
/// <param name="Directory">Full path of the directory.</param>
/// <param name="Files">Training images, training labels, test images, test labels.</param>
/// <param name="IsVerified">Whether the files' SHA-256 were compared with the published ones.</param>
public sealed record LocatedDataset(Dataset Dataset, string Directory, IReadOnlyList<IdxFile> Files, bool IsVerified);

/// <summary>Reads a directory of four IDX files named as MNIST's and checks that they belong together.</summary>
public static class DatasetReader
{
    /// <summary>Reads the data set in a directory.</summary>
    /// <param name="directory">Holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the two of t10k, each with or without .gz.</param>
    /// <param name="catalog">The catalogue's entry whose sums the files must have; null for a data set of the user's own.</param>
    /// <exception cref="ConfigurationException">A file is missing, cannot be read, or does not fit: one line naming file and fault.</exception>
    public static LocatedDataset Read(string directory, CatalogEntry? catalog)
    {
        string full = Path.GetFullPath(directory);
        HashSet<string> names = ListFiles(full);
        IdxFile[] files =
        [
            IdxFile.ReadImages(Find("train-images", "training images", 3, 4)),
            IdxFile.ReadLabels(Find("train-labels", "training labels", 1)),
            IdxFile.ReadImages(Find("t10k-images", "test images", 3, 4)),
            IdxFile.ReadLabels(Find("t10k-labels", "test labels", 1)),
        ];
        Dataset dataset = Assemble(catalog?.Name ?? full, files);
        if (catalog is not null)
            CheckSums(files, catalog);
        return new LocatedDataset(dataset, full, files, catalog is not null);

        string Find(string stem, string what, params ReadOnlySpan<int> dimensions)
        {
            foreach (int dimension in dimensions)
            {
                foreach (string name in (ReadOnlySpan<string>)[$"{stem}-idx{dimension}-ubyte", $"{stem}.idx{dimension}-ubyte"])
                {
                    if (names.Contains(name))
                        return Path.Combine(full, name);
                    if (names.Contains(name + ".gz"))
                        return Path.Combine(full, name + ".gz");
                }
            }

            throw new ConfigurationException(
                $"{full}: the file of {what} is missing: {stem}-idx{dimensions[0]}-ubyte, with or without .gz");
        }
    }

    private static HashSet<string> ListFiles(string directory)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(directory).Select(static path => Path.GetFileName(path))];
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            string fault = File.Exists(directory) ? "is a file, not a directory" : $"cannot be read: {FileFault.Describe(refusal)}";
            throw new ConfigurationException($"{directory}: {fault}", refusal);
        }
    }

    private static Dataset Assemble(string source, IdxFile[] files)
    {
        ImageSet train = Pair(files[0], files[1]);
        ImageSet test = Pair(files[2], files[3]);
        if (train.Shape != test.Shape)
        {
            throw new ConfigurationException(
                $"{files[2].Path}: images of {Describe(test.Shape)}, but those of {Path.GetFileName(files[0].Path)} are {Describe(train.Shape)}");
        }

        Dataset dataset = new(source, train, test);
        if (dataset.Classes < 2)
            throw new ConfigurationException($"{files[1].Path}: all labels are 0; there must be at least two classes");
        int stray = test.Labels.AsSpan().IndexOfAnyInRange((byte)Math.Min(dataset.Classes, 255), (byte)255);
        if (stray >= 0 && test.Labels[stray] >= dataset.Classes)
        {
            throw new ConfigurationException(
                $"{files[3].Path}: label {stray:N0} is {test.Labels[stray]}, out of range: the training labels are 0 to {dataset.Classes - 1}");
        }

        return dataset;
    }

    private static ImageSet Pair(IdxFile images, IdxFile labels)
    {
        if (images.Count != labels.Count)
        {
            throw new ConfigurationException(
                $"{labels.Path}: {labels.Count:N0} labels, but {Path.GetFileName(images.Path)} has {images.Count:N0} images");
        }

        int[] extents = images.Extents;
        return new ImageSet(images.Values, labels.Values, new SampleShape(extents[1], extents[2], extents.Length == 4 ? extents[3] : 1));
    }

    private static void CheckSums(IdxFile[] files, CatalogEntry catalog)
    {
        for (int i = 0; i < files.Length; i++)
        {
            string sum = files[i].ComputeSha256();
            if (sum != catalog.Files[i].Sha256)
            {
                throw new ConfigurationException(
                    $"{files[i].Path}: not {catalog.Name}'s file: its SHA-256 is {sum}, expected {catalog.Files[i].Sha256} (for data of your own use --dataset DIR)");
            }
        }
    }

    private static string Describe(SampleShape shape) => $"{shape.Height}x{shape.Width}x{shape.Channels}";
}
