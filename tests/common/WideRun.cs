using System.Text;
using Distributed.Data;
using Distributed.Models;
using Distributed.Tests.Data;

namespace Distributed.Tests;

/// <summary>A data set of MNIST's shape and a model of as many parameters as the built-in one, 93,000, but quick to compute.</summary>
internal sealed class WideRun : IDisposable
{
    private const string ModelText = """{"layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 117, "activation": "relu"}, {"layer": "Dense", "units": 10, "activation": "softmax"}]}""";

    private readonly TinyDataset _files;

    public WideRun(int train, int test)
    {
        _files = new TinyDataset(train, test, height: 28, width: 28);
        ModelFile = _files.PathOf("wide.json");
        File.WriteAllText(ModelFile, ModelText);
    }

    /// <summary>Where its IDX files are.</summary>
    public string Directory => _files.Directory;

    public string ModelFile { get; }

    public Dataset ReadDataset() => DatasetReader.Read(_files.Directory, catalog: null).Dataset;

    public static ResolvedModel Resolve(Dataset dataset) =>
        ModelResolver.Resolve(ModelJson.Read(Encoding.UTF8.GetBytes(ModelText), "wide"), dataset.Shape, dataset.Classes);

    public void Dispose() => _files.Dispose();
}
