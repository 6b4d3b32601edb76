using System.Net;
using System.Security.Cryptography.X509Certificates;
using Distributed.CommandLine;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Security;

/// <summary>
/// Who may join. Local workers show a token that is made for them at each start; others the one that the user set, if one
/// is set, and a certificate, if one is asked for.
/// </summary>
internal sealed class Admission
{
    private readonly JoinToken? _token;
    private readonly bool _isForLocalWorkersOnly;

    private Admission(JoinToken? token, ServerTls? tls, bool isForLocalWorkersOnly)
    {
        _token = token;
        Tls = tls;
        _isForLocalWorkersOnly = isForLocalWorkersOnly;
    }

    /// <summary>For the environment of local workers.</summary>
    public JoinToken LocalToken { get; } = JoinToken.CreateRandom();

    /// <summary>Null: the ports are not encrypted.</summary>
    public ServerTls? Tls { get; }

    /// <summary>Reads the token and the PEM files.</summary>
    /// <exception cref="ConfigurationException">One cannot be used, or a port would be open to everybody.</exception>
    public static Admission Open(RunOptions options)
    {
        JoinToken? token = JoinToken.Read(options.TokenFile);
        foreach (ListenAddress port in options.Status.IsOn ? [options.ListenAddress(), options.Status.Listen()] : (ListenAddress[])[options.ListenAddress()])
        {
            if (token is null && !options.Insecure && !IPAddress.IsLoopback(port.EndPoint.Address))
            {
                throw new ConfigurationException(
                    $"{port.Option} {port.Text} is open to every machine: set a join token ({JoinToken.Option} or {JoinToken.Variable}), or say --insecure");
            }
        }

        // Nobody else is told of a port that the system chose.
        return new Admission(token, ServerTls.Load(options.Tls), options.IsSingleMachine && options.Listen is null);
    }

    /// <summary>Why a caller may not join; null when it may.</summary>
    /// <param name="isEncrypted">Whether it called at the port's encrypted side.</param>
    public string? Refuse(string shownToken, bool isEncrypted, X509Certificate2? certificate)
    {
        if (LocalToken.Matches(shownToken))
            return null;
        if (_isForLocalWorkersOnly || (Tls is not null && !isEncrypted))
            return "this port is for the coordinator's own workers";
        if (Tls?.RefuseClient(certificate) is { } reason)
            return reason;
        return _token is null || _token.Matches(shownToken) ? null
            : shownToken.Length == 0 ? $"it has no join token; give it {JoinToken.Option} or {JoinToken.Variable}"
            : "its join token is wrong";
    }
}
