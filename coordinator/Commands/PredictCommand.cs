using System.CommandLine;
using System.Globalization;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator predict: the class of images and the probabilities of all classes.</summary>
internal static class PredictCommand
{
    private const string TestImagePrefix = "idx:";

    public static Command Create()
    {
        Option<string> weights = WeightsOption.Create();
        Option<bool> invert = new("--invert") { Description = "the files are dark on light; MNIST is light on dark" };
        Argument<string[]> images = new("IMAGE")
        {
            Description = "PNG or PGM files of the model's size, or idx:N, image N of the test set",
            Arity = ArgumentArity.OneOrMore,
        };
        DatasetOptions data = new("for idx:N; default: what the weights were trained on");
        Command command = new("predict", "Print the digit that each image shows, and the probabilities.") { weights, invert, images };
        data.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            WeightsFile file = WeightsFile.Read(parsed.GetValue(weights)!);
            string[] names = parsed.GetValue(images)!;
            Dataset? dataset = names.Any(static name => name.StartsWith(TestImagePrefix, StringComparison.Ordinal))
                ? await WeightsOption.LoadDatasetAsync(file, data, parsed, cancellation)
                : null;
            // Read before anything is printed: a wrong file spoils no output.
            List<NamedImage> loaded = [.. names.Select(name => Load(name, file.Model.Input, parsed.GetValue(invert), dataset))];
            Predict(file, loaded, parsed.InvocationConfiguration.Output);
            return 0;
        });
        return command;
    }

    private static NamedImage Load(string name, SampleShape shape, bool invert, Dataset? dataset)
    {
        if (dataset is null || !name.StartsWith(TestImagePrefix, StringComparison.Ordinal))
            return new NamedImage(name, ImageFile.Read(name, shape, invert), null);
        string number = name[TestImagePrefix.Length..];
        if (!int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int index) || index >= dataset.Test.Count)
            throw new ConfigurationException($"{name}: there is no such test image; expected idx:0 to idx:{dataset.Test.Count - 1}");
        return new NamedImage(name, dataset.Test.Image(index).ToArray(), dataset.Test.Labels[index]);
    }

    private static void Predict(WeightsFile file, List<NamedImage> images, TextWriter output)
    {
        using Network network = Network.Compile(file.Model, 1, InstructionSets.Best);
        network.Prepare(file.Parameters);
        using Executor executor = network.CreateExecutor();
        float[] probabilities = new float[file.Model.Classes];
        int width = images.Max(static image => image.Name.Length);
        foreach (NamedImage image in images)
        {
            PixelScaling.Scale(image.Pixels, executor.Images);
            executor.Predict(1, probabilities);
            int best = probabilities.AsSpan().IndexOf(probabilities.Max());
            string truth = image.Label is { } label ? $"  (label {label})" : "";
            string all = string.Join(' ', probabilities.Select(static (probability, index) => $"{index}:{probability:0.0000}"));
            output.WriteLine($"{image.Name.PadRight(width)}  {best}  {all}{truth}");
        }
    }

    /// <param name="Name">As the user gave it.</param>
    /// <param name="Pixels">(H, W, C), as the model takes them but for the scaling.</param>
    /// <param name="Label">Its class, where known.</param>
    private sealed record NamedImage(string Name, byte[] Pixels, byte? Label);
}
