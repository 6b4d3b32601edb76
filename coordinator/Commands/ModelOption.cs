using System.CommandLine;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>--model, as every command that builds a model takes it; <see cref="BuiltInModels.Load"/> resolves it.</summary>
internal static class ModelOption
{
    public static Option<string> Create() => new("--model")
    {
        Description = "convnet, dense, or a JSON file in Keras' words",
        DefaultValueFactory = static _ => BuiltInModels.ConvNet.Name,
        HelpName = "convnet|dense|FILE.json",
    };
}
