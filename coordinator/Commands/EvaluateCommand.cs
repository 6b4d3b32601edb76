using System.CommandLine;
using Distributed.Data;
using Distributed.Models;
using Spectre.Console;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator evaluate: test loss, accuracy and confusion matrix of trained weights.</summary>
internal static class EvaluateCommand
{
    public static Command Create()
    {
        Option<string> weights = WeightsOption.Create();
        Option<int> threads = new("--threads")
        {
            Description = "threads to use; the result is the same for any number",
            DefaultValueFactory = static _ => Environment.ProcessorCount,
            HelpName = "T",
        };
        DatasetOptions data = new("default: what the weights were trained on");
        Command command = new("evaluate", "Print the test loss and accuracy of trained weights, and a confusion matrix.") { weights, threads };
        data.AddTo(command);
        command.SetAction(async (parsed, cancellation) =>
        {
            int count = parsed.GetValue(threads);
            if (count < 1)
                throw new ConfigurationException($"--threads must be at least 1, not {count}");
            WeightsFile file = WeightsFile.Read(parsed.GetValue(weights)!);
            Dataset dataset = await WeightsOption.LoadDatasetAsync(file, data, parsed, cancellation);
            Evaluation evaluation = TestSetEvaluator.Evaluate(file.Model, file.Parameters, dataset.Test, count, cancellation);
            Write(dataset, evaluation, parsed.InvocationConfiguration.Output);
            return 0;
        });
        return command;
    }

    private static void Write(Dataset dataset, Evaluation evaluation, TextWriter output)
    {
        output.WriteLine($"{dataset.Source}: {dataset.Test.Count:N0} test images");
        output.WriteLine($"loss: {evaluation.Loss:0.0000} - accuracy: {evaluation.Accuracy:0.0000} ({evaluation.Correct:N0} of {dataset.Test.Count:N0} right)");
        output.WriteLine();
        ConfusionMatrix matrix = new(dataset.Test.Labels, evaluation.Predictions, dataset.Classes);
        bool isTerminal = ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected;
        if (isTerminal)
            AnsiConsole.Write(matrix.ToTable());
        else
            output.Write(matrix.Format());
    }
}
