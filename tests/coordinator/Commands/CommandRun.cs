using System.CommandLine;

namespace Distributed.Tests.Commands;

/// <summary>One command, run in this process as the host runs it.</summary>
internal sealed record CommandRun(string Output, string Errors)
{
    public static async Task<CommandRun> InvokeAsync(Command command, params string[] arguments)
    {
        using StringWriter output = new();
        using StringWriter errors = new();
        InvocationConfiguration configuration = new() { Output = output, Error = errors, EnableDefaultExceptionHandler = false };
        ParseResult parsed = command.Parse(arguments);
        Assert.Empty(parsed.Errors);
        Assert.Equal(0, await parsed.InvokeAsync(configuration, TestContext.Current.CancellationToken));
        return new CommandRun(output.ToString().ReplaceLineEndings("\n"), errors.ToString());
    }

    /// <summary>Runs a command that must refuse; its one line.</summary>
    public static async Task<string> RefuseAsync(Command command, params string[] arguments) =>
        (await Assert.ThrowsAsync<ConfigurationException>(() => InvokeAsync(command, arguments))).Message;
}
