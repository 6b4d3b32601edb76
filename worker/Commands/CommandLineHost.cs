using System.CommandLine;
using System.CommandLine.Parsing;
using System.Runtime.InteropServices;

namespace Distributed.Worker.Commands;

/// <summary>Runs one command and turns the way it ended into an exit code and at most one line for the user.</summary>
internal static class CommandLineHost
{
    private const int Failed = 1;
    private const int BadUsage = 2;
    private const int Interrupted = 130;
    private const int Terminated = 143;

    public static async Task<int> RunAsync(RootCommand root, string[] args)
    {
        ParseResult parsed = root.Parse(args);
        if (parsed.Errors.Count > 0 && parsed.Action is not System.CommandLine.Help.HelpAction)
            return Complain(Describe(parsed.Errors[0]), BadUsage);

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
            // At a terminal Ctrl-C reaches the owner too, which tells its workers when to go.
            if (code == Interrupted && parsed.GetValue(JoinCommand.Owned))
                return;
            signalCode = code;
            interruption.Cancel();
        }
    }

    /// <summary>The parser's own words, but for a value of the wrong type, where it names the type as programmers do.</summary>
    private static string Describe(ParseError error) =>
        error.SymbolResult is OptionResult { Tokens: [{ Value: { } value }] } result
            && (Nullable.GetUnderlyingType(result.Option.ValueType) ?? result.Option.ValueType) is { IsPrimitive: true } type
            ? $"{result.Option.Name} must be {(type == typeof(double) ? "a number" : "a whole number")}, not '{value}'"
            : error.Message;

    private static int Complain(string message, int code)
    {
        Console.Error.WriteLine($"worker: {message}");
        return code;
    }
}
