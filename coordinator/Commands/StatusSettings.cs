using System.CommandLine;
using Distributed.Coordinator.Status;

namespace Distributed.Coordinator.Commands;

/// <summary>The options of `train` about showing the run.</summary>
internal sealed class StatusSettings
{
    private readonly Option<string?> _status = new("--status")
    {
        Description = $"where to show the run in a browser and to programs (default: {StatusOptions.DefaultAddress}, or a free port where that is in use; none: nowhere)",
        HelpName = "HOST:PORT",
    };

    private readonly Option<string[]> _host = new("--status-host")
    {
        Description = "a name, beyond localhost and addresses, under which the status endpoint is called; may be repeated, or be a list with commas",
        HelpName = "NAME",
    };

    private readonly Option<double?> _linger = new("--linger")
    {
        Description = "keep the status endpoint up after the end, for so many seconds or until interrupted",
        HelpName = "SECONDS",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _tensorBoard = new("--tensorboard") { Description = "also write event files for TensorBoard to the folder of --out" };

    public void AddTo(Command command)
    {
        foreach (Option option in (ReadOnlySpan<Option>)[_status, _host, _linger, _tensorBoard])
            command.Options.Add(option);
    }

    public StatusOptions Read(ParseResult parsed) => new()
    {
        Address = parsed.GetValue(_status),
        Hosts = [.. (parsed.GetValue(_host) ?? []).SelectMany(static names => names.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))],
        Linger = parsed.GetResult(_linger) is null ? TimeSpan.Zero : parsed.GetValue(_linger) is { } seconds ? Duration(seconds) : null,
        TensorBoard = parsed.GetValue(_tensorBoard),
    };

    private static TimeSpan Duration(double seconds) => double.IsFinite(seconds) && Math.Abs(seconds) < TimeSpan.MaxValue.TotalSeconds / 2
        ? TimeSpan.FromSeconds(seconds)
        : throw new ConfigurationException($"--linger must be a number of seconds, not {seconds}");
}
