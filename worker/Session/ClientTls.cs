using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using Distributed.CommandLine;
using Grpc.Core;

namespace Distributed.Worker.Session;

/// <summary>TLS as a worker sees it: whom to trust and what to show.</summary>
/// <param name="Authorities">Those whose certificates count; null: the system's.</param>
/// <param name="Identity">What to show the coordinator; null: nothing.</param>
internal sealed record ClientTls(X509Certificate2Collection? Authorities, PemIdentity? Identity)
{
    public static ClientTls Default { get; } = new(null, null);

    /// <exception cref="ConfigurationException">A file cannot be used.</exception>
    public static ClientTls Load(string? authorityFile, string? certificateFile, string? keyFile) => new(
        authorityFile is null ? null : PemFiles.LoadCertificates("--tls-ca", authorityFile),
        PemFiles.LoadIdentity(certificateFile, keyFile));

    /// <summary>Why a call failed if it was for want of trust, so that trying again is of no use; null otherwise.</summary>
    public static string? FindDistrust(Exception failure)
    {
        for (Exception? cause = (failure as RpcException)?.Status.DebugException ?? failure; cause is not null; cause = cause.InnerException)
        {
            if (cause is AuthenticationException)
                return cause.Message.TrimEnd('.');
        }

        return null;
    }

    public void Apply(SocketsHttpHandler handler)
    {
        if (Authorities is not null)
            handler.SslOptions.CertificateChainPolicy = PemFiles.TrustOnly(Authorities, PemFiles.ServerAuthentication);
        if (Identity is not null)
            handler.SslOptions.ClientCertificateContext = SslStreamCertificateContext.Create(Identity.Certificate, Identity.Chain, offline: true);
    }
}
