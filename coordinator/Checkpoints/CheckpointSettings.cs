using System.Globalization;
using System.Text.Json;
using Distributed.Coordinator.Training;
using Distributed.Engine;
using Distributed.Optimizers;
using Distributed.Reduction;

namespace Distributed.Coordinator.Checkpoints;

/// <summary>Everything that a run's weights depend on, by the name of the option that sets it, if one does.</summary>
internal static class CheckpointSettings
{
    // Longer values (a model, a fingerprint) say nothing to people.
    private const int LongestShown = 40;

    private const string Wire = "--wire";

    // Checkpoints from before an option was there are as if it had been left out.
    private static readonly Dictionary<string, string> _added = new() { [Wire] = WirePrecision.Float32.Word() };

    public static Dictionary<string, string> Of(RunDefinition run)
    {
        OptimizerSettings optimizer = run.Options.Optimizer;
        return new Dictionary<string, string>
        {
            ["--model"] = run.ModelJson,
            ["--dataset"] = run.Dataset.Fingerprint,
            ["--batch-size"] = Text(run.Plan.BatchSize),
            ["--shards"] = Text(run.Plan.Shards),
            ["--seed"] = Text(run.Plan.Seed),
            ["--no-shuffle"] = run.Plan.Shuffle ? "off" : "on",
            ["--optimizer"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(optimizer.Kind.ToString()),
            ["--learning-rate"] = Text(optimizer.LearningRate),
            ["--rho"] = Text(optimizer.Rho),
            ["--momentum"] = Text(optimizer.Momentum),
            ["--nesterov"] = optimizer.Nesterov ? "on" : "off",
            ["--beta-1"] = Text(optimizer.Beta1),
            ["--beta-2"] = Text(optimizer.Beta2),
            ["--epsilon"] = Text(optimizer.Epsilon),
            [Wire] = run.Options.Wire.Word(),
            ["the engine's arithmetic"] = $"version {Arithmetic.Version}",
        };
    }

    /// <summary>The settings that differ, each with its two values; empty when none does.</summary>
    public static string Differences(IReadOnlyDictionary<string, string> before, IReadOnlyDictionary<string, string> now)
    {
        List<string> differing = [];
        foreach (string name in now.Keys.Union(before.Keys))
        {
            string then = before.GetValueOrDefault(name, _added.GetValueOrDefault(name, "unknown")), here = now.GetValueOrDefault(name, "unknown");
            if (then == here)
                continue;
            differing.Add(then.Length > LongestShown || here.Length > LongestShown
                ? $"{name} is another"
                : $"{name} is {then} there, {here} here");
        }

        return string.Join("; ", differing);
    }

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);
}
