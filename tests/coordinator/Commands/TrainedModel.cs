using System.Text;
using Distributed.Data;
using Distributed.Models;
using Distributed.Tests.Data;

namespace Distributed.Tests.Commands;

/// <summary>A tiny data set and the weights of a linear model that tell its classes apart by their bright bars.</summary>
internal sealed class TrainedModel : IDisposable
{
    public TrainedModel()
    {
        Data = new TinyDataset(train: 30, test: 25, height: 12, width: 10);
        Weights = Data.PathOf("model.safetensors");
        ModelDefinition definition = ModelJson.Read(
            Encoding.UTF8.GetBytes("""{"name": "bars", "layers": [{"layer": "Flatten"}, {"layer": "Dense", "units": 10, "activation": "softmax"}]}"""), "test");
        ResolvedModel model = ModelResolver.Resolve(definition, new SampleShape(12, 10, 1), 10);
        float[] parameters = new float[model.ParameterCount];
        for (int pixel = 0; pixel < 120; pixel++)
            parameters[(pixel * 10) + (pixel / 12)] = 1;
        WeightsFile.Write(Weights, model, Data.Directory, parameters);
    }

    public TinyDataset Data { get; }

    public string Weights { get; }

    public void Dispose() => Data.Dispose();
}
