using System.CommandLine;
using Distributed.Data;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>--weights, as evaluate and predict take it.</summary>
internal static class WeightsOption
{
    public static Option<string> Create() => new("--weights")
    {
        Description = "a model.safetensors that training wrote",
        Required = true,
        HelpName = "FILE",
    };

    /// <summary>The data set the user names, else the one the weights were trained on; checked to be of the model's size.</summary>
    public static async Task<Dataset> LoadDatasetAsync(WeightsFile file, DatasetOptions options, ParseResult parsed, CancellationToken cancellation)
    {
        bool isNamed = parsed.GetValue(options.Dataset) is not null;
        if (!isNamed && DatasetCatalog.Find(file.Dataset) is null && !Directory.Exists(file.Dataset))
            throw new ConfigurationException($"{file.Path}: was trained on '{file.Dataset}', which is not here; name the data set with --dataset");
        Dataset dataset = (await options.LoadAsync(parsed, file.Dataset, cancellation)).Dataset;
        SampleShape expected = file.Model.Input;
        if (dataset.Shape != expected || dataset.Classes != file.Model.Classes)
        {
            throw new ConfigurationException(
                $"{file.Path}: its model takes images of {Describe(expected)} in {file.Model.Classes} classes; {dataset.Source} has {Describe(dataset.Shape)} in {dataset.Classes}");
        }

        return dataset;
    }

    private static string Describe(SampleShape shape) => $"{shape.Height}x{shape.Width}x{shape.Channels}";
}
