using System.CommandLine;
using Distributed.Optimizers;

namespace Distributed.Coordinator.Commands;

/// <summary>--optimizer and the arguments of each, named as in Keras.</summary>
internal sealed class OptimizerOptions
{
    private readonly Option<string> _optimizer = new("--optimizer")
    {
        Description = "rmsprop, sgd or adam, with Keras' arguments and defaults",
        DefaultValueFactory = static _ => "rmsprop",
        HelpName = "rmsprop|sgd|adam",
    };

    private readonly Option<double?> _learningRate = new("--learning-rate") { Description = "default: 0.001; sgd: 0.01" };

    // Each belongs to some optimizers only: with another it is an error, not silently ignored.
    private readonly Option<double?> _rho = new("--rho") { Description = "rmsprop: decay of the mean square (default: 0.9)" };
    private readonly Option<double?> _momentum = new("--momentum") { Description = "sgd: decay of the velocity (default: 0)" };
    private readonly Option<bool> _nesterov = new("--nesterov") { Description = "sgd: Nesterov momentum" };
    private readonly Option<double?> _beta1 = new("--beta-1") { Description = "adam: decay of the mean (default: 0.9)" };
    private readonly Option<double?> _beta2 = new("--beta-2") { Description = "adam: decay of the mean square (default: 0.999)" };
    private readonly Option<double?> _epsilon = new("--epsilon") { Description = "rmsprop and adam: added to the root (default: 1e-7)" };

    public void AddTo(Command command)
    {
        foreach (Option option in (ReadOnlySpan<Option>)[_optimizer, _learningRate, _rho, _momentum, _nesterov, _beta1, _beta2, _epsilon])
            command.Options.Add(option);
    }

    /// <exception cref="ConfigurationException">There is no such optimizer, or it has no such argument.</exception>
    public OptimizerSettings Read(ParseResult parsed)
    {
        string name = parsed.GetValue(_optimizer)!;
        OptimizerKind kind = name switch
        {
            "rmsprop" => OptimizerKind.Rmsprop,
            "sgd" => OptimizerKind.Sgd,
            "adam" => OptimizerKind.Adam,
            _ => throw new ConfigurationException($"--optimizer must be rmsprop, sgd or adam, not '{name}'"),
        };
        Refuse(kind != OptimizerKind.Rmsprop, _rho);
        Refuse(kind != OptimizerKind.Sgd, _momentum);
        Refuse(kind != OptimizerKind.Sgd, _nesterov);
        Refuse(kind != OptimizerKind.Adam, _beta1);
        Refuse(kind != OptimizerKind.Adam, _beta2);
        Refuse(kind == OptimizerKind.Sgd, _epsilon);
        OptimizerSettings defaults = OptimizerSettings.Default(kind);
        return new OptimizerSettings(
            kind,
            parsed.GetValue(_learningRate) ?? defaults.LearningRate,
            parsed.GetValue(_rho) ?? defaults.Rho,
            parsed.GetValue(_momentum) ?? defaults.Momentum,
            parsed.GetValue(_nesterov),
            parsed.GetValue(_beta1) ?? defaults.Beta1,
            parsed.GetValue(_beta2) ?? defaults.Beta2,
            parsed.GetValue(_epsilon) ?? defaults.Epsilon);

        void Refuse(bool isForeign, Option option)
        {
            if (isForeign && parsed.GetResult(option) is { Implicit: false })
                throw new ConfigurationException($"{option.Name} is not an argument of --optimizer {name}");
        }
    }
}
