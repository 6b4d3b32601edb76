using System.CommandLine;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator summary: the Keras table of a model, and with --kernels what the engine makes of it.</summary>
internal static class SummaryCommand
{
    // The microbatch of the default training configuration: 64 samples over 8 shards.
    private const int Microbatch = 8;

    public static Command Create()
    {
        Option<string> model = ModelOption.Create();
        Option<bool> kernels = new("--kernels") { Description = "also show which kernels the engine runs for each layer on this machine" };
        DatasetOptions data = new("default mnist: images of 28x28x1, 10 classes");
        Command command = new("summary", "Print a model's layers, shapes and parameters as Keras does.") { model, kernels };
        data.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            ModelDefinition definition = BuiltInModels.Load(parsed.GetValue(model)!);
            (SampleShape shape, int classes) = await ShapeAsync(parsed, data, cancellation);
            ResolvedModel resolved = ModelResolver.Resolve(definition, shape, classes);
            TextWriter output = parsed.InvocationConfiguration.Output;
            output.Write(SummaryTable.Format(resolved));
            if (parsed.GetValue(kernels))
                WriteKernels(resolved, output);
            return 0;
        });
        return command;
    }

    /// <summary>A published data set's shape is known without fetching it.</summary>
    private static async Task<(SampleShape Shape, int Classes)> ShapeAsync(ParseResult parsed, DatasetOptions data, CancellationToken cancellation)
    {
        if (parsed.GetValue(data.DataDirectory) is null && DatasetCatalog.Find(parsed.GetValue(data.Dataset) ?? DatasetCatalog.Mnist.Name) is { } entry)
            return (entry.Shape, entry.Classes);
        Dataset dataset = (await data.LoadAsync(parsed, DatasetCatalog.Mnist.Name, cancellation)).Dataset;
        return (dataset.Shape, dataset.Classes);
    }

    private static void WriteKernels(ResolvedModel model, TextWriter output)
    {
        InstructionSet instructions = InstructionSets.Best;
        using Network network = Network.Compile(model, Microbatch, instructions, Network.LongestUsefulWave);
        output.WriteLine();
        output.WriteLine($"Kernels ({instructions.DisplayName()}, microbatch {Microbatch})");
        int width = network.Operations.Max(static operation => operation.Layers.Length);
        foreach (OperationDescription operation in network.Operations)
            output.WriteLine($"{operation.Layers.PadRight(width)}  {operation.Kernels}");
    }
}
