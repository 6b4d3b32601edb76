using System.Text;
using Distributed.Data;
using Distributed.Models;
using Distributed.Tests.Data;

namespace Distributed.Tests;

/// <summary>A small data set of 8 x 8 images in four classes, and a model that fits it, with dropout in it.</summary>
internal sealed class TinyRun : IDisposable
{
    private readonly TinyDataset _files;

    /// <param name="takesWholeWaves">Whether the model also has a layer with more weights than a microbatch of its input.</param>
    public TinyRun(int train, int test, bool takesWholeWaves = false)
    {
        string hidden = takesWholeWaves ? """{"layer": "Dense", "units": 12, "activation": "relu"},""" : "";
        _files = new TinyDataset(train, test, height: 8, width: 8, classes: 4);
        Dataset = DatasetReader.Read(_files.Directory, catalog: null).Dataset;
        ModelDefinition model = ModelJson.Read(
            Encoding.UTF8.GetBytes($$"""
                {"layers": [
                  {"layer": "Conv2D", "filters": 5, "kernel_size": 3, "activation": "relu"},
                  {"layer": "MaxPooling2D", "pool_size": 2},
                  {"layer": "Flatten"},
                  {"layer": "Dropout", "rate": 0.25},
                  {{hidden}}
                  {"layer": "Dense", "units": 4, "activation": "softmax"}]}
                """),
            "tiny");
        Model = ModelResolver.Resolve(model, Dataset.Shape, Dataset.Classes);
    }

    public Dataset Dataset { get; }

    public ResolvedModel Model { get; }

    public void Dispose() => _files.Dispose();
}
