using System.CommandLine;
using Distributed.Data;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator data: fetches and checks a data set, and says where it is and what it holds.</summary>
internal static class DataCommand
{
    public static Command Create()
    {
        DatasetOptions options = new("default mnist");
        Command command = new("data", "Fetch and check a data set, nothing else.");
        options.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            LocatedDataset located = await options.LoadAsync(parsed, DatasetCatalog.Mnist.Name, cancellation);
            Write(located, parsed.InvocationConfiguration.Output);
            return 0;
        });
        return command;
    }

    private static void Write(LocatedDataset located, TextWriter output)
    {
        Dataset dataset = located.Dataset;
        SampleShape shape = dataset.Shape;
        output.WriteLine($"{dataset.Source}: {dataset.Train.Count:N0} training and {dataset.Test.Count:N0} test images of {shape.Height}x{shape.Width}x{shape.Channels}, {dataset.Classes} classes");
        output.WriteLine($"in {located.Directory}");
        int width = located.Files.Max(static file => Path.GetFileName(file.Path).Length);
        foreach (IdxFile file in located.Files)
            output.WriteLine($"  {Path.GetFileName(file.Path).PadRight(width)}  {file.Count,7:N0}  {file.ComputeSha256()}");
        output.WriteLine(located.IsVerified ? "SHA-256 of all four files ok" : "counts, sizes and labels ok; no published SHA-256 to compare with");
    }
}
