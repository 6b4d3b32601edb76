using System.CommandLine;

namespace Distributed.CommandLine;

/// <summary>
/// Options from environment variables, as containers are configured: <c>TRAIN__EPOCHS=3</c> stands for <c>train --epochs 3</c>,
/// <c>WORKER__THREADS=2</c> for <c>worker --threads 2</c>. What the command line says goes first; an empty variable counts
/// as not set.
/// </summary>
internal sealed class EnvironmentOptions
{
    private const string Separator = "__";

    private readonly Dictionary<string, string> _variables;

    private EnvironmentOptions(string[] arguments, Dictionary<string, string> variables)
    {
        Arguments = arguments;
        _variables = variables;
    }

    /// <summary>The command line with what the environment adds to it.</summary>
    public string[] Arguments { get; }

    /// <summary>The variable that gave an option its value, if one did.</summary>
    public string? VariableOf(string option) => _variables.GetValueOrDefault(option);

    /// <param name="program">The program's name: the prefix of the root command's own options.</param>
    /// <exception cref="ConfigurationException">A variable with the command's prefix names no option of it, or a switch is neither true nor false.</exception>
    public static EnvironmentOptions Read(string program, RootCommand root, string[] args, IEnumerable<KeyValuePair<string, string?>> environment)
    {
        Command? subcommand = args.Length > 0 ? root.Subcommands.FirstOrDefault(command => command.Name == args[0]) : null;
        Command command = subcommand ?? root;
        string prefix = (subcommand?.Name ?? program).ToUpperInvariant() + Separator;
        List<string> arguments = [.. args];
        Dictionary<string, string> variables = [];
        foreach ((string variable, string? value) in environment.OrderBy(static variable => variable.Key, StringComparer.Ordinal))
        {
            if (!variable.StartsWith(prefix, StringComparison.Ordinal) || string.IsNullOrEmpty(value))
                continue;
            Option option = Find(command, variable, prefix);
            if (args.Any(argument => argument == option.Name || argument.StartsWith($"{option.Name}=", StringComparison.Ordinal) || argument.StartsWith($"{option.Name}:", StringComparison.Ordinal)))
                continue;
            variables[option.Name] = variable;
            if (option.ValueType != typeof(bool))
                arguments.AddRange([option.Name, value]);
            else if (IsOn(variable, value))
                arguments.Add(option.Name);
        }

        return new EnvironmentOptions([.. arguments], variables);
    }

    private static Option Find(Command command, string variable, string prefix)
    {
        string name = "--" + variable[prefix.Length..].ToLowerInvariant().Replace('_', '-');
        return command.Options.FirstOrDefault(option => option.Name == name)
            ?? throw new ConfigurationException(
                $"the environment variable {variable} stands for {name}, which is no option here{Suggestion.For(name, command.Options.Where(static option => !option.Hidden).Select(static option => option.Name))}");
    }

    private static bool IsOn(string variable, string value) => value.ToLowerInvariant() switch
    {
        "true" or "1" or "yes" or "on" => true,
        "false" or "0" or "no" or "off" => false,
        _ => throw new ConfigurationException($"{variable} must be true or false, not '{value}'"),
    };
}
