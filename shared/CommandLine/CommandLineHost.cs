using System.Collections;
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;

namespace Distributed.CommandLine;

/// <summary>
/// Runs one command of a program and turns the way it ended into an exit code and at most one line for the user.
/// Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 130 and 143 when interrupted and terminated.
/// </summary>
public static class CommandLineHost
{
    /// <summary>The exit code of what could not be carried out.</summary>
    public const int Failed = 1;

    private const int BadUsage = 2;
    private const int Interrupted = 130;
    private const int Terminated = 143;

    /// <param name="program">What its messages begin with.</param>
    /// <param name="ignoresInterrupt">Whether Ctrl-C is to be left to somebody else.</param>
    public static async Task<int> RunAsync(string program, RootCommand root, string[] args, Func<ParseResult, bool>? ignoresInterrupt = null)
    {
        ParseResult parsed;
        EnvironmentOptions environment;
        try
        {
            environment = EnvironmentOptions.Read(program, root, args, Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
                .Select(static variable => KeyValuePair.Create((string)variable.Key, (string?)variable.Value)));
            parsed = root.Parse(environment.Arguments);
        }
        catch (ConfigurationException exception)
        {
            return Complain(exception.Message, BadUsage);
        }

        if (parsed.Errors.Count > 0 && parsed.Action is not HelpAction)
            return Complain(Describe(parsed.Errors[0], environment), BadUsage);

        using CancellationTokenSource interruption = new();
        int signalCode = 0;
        using PosixSignalRegistration interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => Stop(context, Interrupted));
        using PosixSignalRegistration terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => Stop(context, Terminated));
        try
        {
            InvocationConfiguration configuration = new() { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            return await parsed.InvokeAsync(configuration, interruption.Token).ConfigureAwait(false);
        }
        catch (Exception) when (interruption.IsCancellationRequested)
        {
            return signalCode;
        }
        catch (ConfigurationException exception)
        {
            return Complain(exception.Message, BadUsage);
        }
        catch (RunFailedException exception)
        {
            return Complain(exception.Message, Failed);
        }
        catch (Exception exception)
        {
            return Complain($"unexpected error: {exception}", Failed);
        }

        void Stop(PosixSignalContext context, int code)
        {
            context.Cancel = true;
            if (code == Interrupted && ignoresInterrupt?.Invoke(parsed) == true)
                return;
            signalCode = code;
            interruption.Cancel();
        }

        int Complain(string message, int code)
        {
            Console.Error.WriteLine($"{program}: {message}");
            return code;
        }
    }

    /// <summary>The parser's own words, but for a value of the wrong type, where it names the type as programmers do.</summary>
    private static string Describe(ParseError error, EnvironmentOptions environment)
    {
        if (error.SymbolResult is not OptionResult { Tokens: [{ Value: { } value }] } result)
            return error.Message;
        Type type = Nullable.GetUnderlyingType(result.Option.ValueType) ?? result.Option.ValueType;
        string? wanted = type == typeof(double) ? "a number"
            : type.IsPrimitive ? "a whole number"
            : type.IsEnum ? Words(Enum.GetNames(type))
            : null;
        string message = wanted is null ? error.Message : $"{result.Option.Name} must be {wanted}, not '{value}'";
        return environment.VariableOf(result.Option.Name) is { } variable ? $"{variable}: {message}" : message;
    }

    private static string Words(string[] names) => $"{string.Join(", ", names[..^1])} or {names[^1]}".ToLowerInvariant();
}
