using System.CommandLine;
using Distributed.CommandLine;
using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Commands;

/// <summary>Who may join a run, and how its ports are encrypted.</summary>
internal sealed class SecurityOptions
{
    private readonly Option<string?> _token = new(JoinToken.Option)
    {
        Description = $"file with the join token that workers must show (default: the environment variable {JoinToken.Variable})",
        HelpName = "FILE",
    };

    private readonly Option<string?> _certificate = new("--tls-cert") { Description = "the coordinator's certificate, PEM: encrypts its ports", HelpName = "FILE" };
    private readonly Option<string?> _key = new("--tls-key") { Description = "its key, PEM", HelpName = "FILE" };
    private readonly Option<string?> _clientAuthority = new("--tls-client-ca") { Description = "workers must show a certificate of these authorities, PEM", HelpName = "FILE" };
    private readonly Option<bool> _insecure = new("--insecure") { Description = "listen beyond loopback without a join token" };

    public void AddTo(Command command)
    {
        foreach (Option option in (ReadOnlySpan<Option>)[_token, _certificate, _key, _clientAuthority, _insecure])
            command.Options.Add(option);
    }

    /// <summary>Adds what the user said of it.</summary>
    public RunOptions Read(ParseResult parsed, RunOptions options) => options with
    {
        TokenFile = parsed.GetValue(_token),
        Tls = new TlsOptions(parsed.GetValue(_certificate), parsed.GetValue(_key), parsed.GetValue(_clientAuthority)),
        Insecure = parsed.GetValue(_insecure),
    };
}
