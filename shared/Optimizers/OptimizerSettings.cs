namespace Distributed.Optimizers;

public enum OptimizerKind
{
    Rmsprop,
    Sgd,
    Adam,
}

/// <summary>An optimizer and its arguments, named and set by default as in Keras 2.</summary>
/// <param name="LearningRate">Above 0.</param>
/// <param name="Rho">rmsprop: how much of the mean square is kept each step, 0 to 1.</param>
/// <param name="Momentum">sgd: how much of the velocity is kept each step, 0 to 1.</param>
/// <param name="Nesterov">sgd: look ahead along the velocity.</param>
/// <param name="Beta1">adam: how much of the mean is kept each step, from 0 to below 1.</param>
/// <param name="Beta2">adam: how much of the mean square is kept each step, from 0 to below 1.</param>
/// <param name="Epsilon">rmsprop and adam: added to the root; 0 or more.</param>
public sealed record OptimizerSettings(
    OptimizerKind Kind,
    double LearningRate,
    double Rho = 0.9,
    double Momentum = 0,
    bool Nesterov = false,
    double Beta1 = 0.9,
    double Beta2 = 0.999,
    double Epsilon = 1e-7)
{
    public static OptimizerSettings Default(OptimizerKind kind) => new(kind, kind == OptimizerKind.Sgd ? 0.01 : 0.001);

    /// <summary>Refuses arguments out of range, naming them as the command line does.</summary>
    /// <exception cref="ConfigurationException">An argument is out of range.</exception>
    public void Validate()
    {
        Require(double.IsFinite(LearningRate) && LearningRate > 0, "--learning-rate", LearningRate, "above 0");
        Require(Rho is >= 0 and <= 1, "--rho", Rho, "from 0 to 1");
        Require(Momentum is >= 0 and <= 1, "--momentum", Momentum, "from 0 to 1");
        Require(Beta1 is >= 0 and < 1, "--beta-1", Beta1, "from 0 to below 1");
        Require(Beta2 is >= 0 and < 1, "--beta-2", Beta2, "from 0 to below 1");
        Require(double.IsFinite(Epsilon) && Epsilon >= 0, "--epsilon", Epsilon, "0 or more");
    }

    private static void Require(bool holds, string option, double value, string range)
    {
        if (!holds)
            throw new ConfigurationException($"{option} must be {range}, not {value}");
    }
}
