using System.Security.Cryptography.X509Certificates;
using Distributed.CommandLine;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Https;

namespace Distributed.Coordinator.Security;

/// <summary>TLS for the coordinator's ports.</summary>
internal sealed class ServerTls
{
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(10);

    private readonly PemIdentity _identity;
    private readonly X509Certificate2Collection? _clientAuthorities;

    private ServerTls(PemIdentity identity, X509Certificate2Collection? clientAuthorities)
    {
        _identity = identity;
        _clientAuthorities = clientAuthorities;
    }

    /// <summary>Reads the files; null where there is to be no TLS.</summary>
    /// <exception cref="ConfigurationException">A file is missing or cannot be used.</exception>
    public static ServerTls? Load(TlsOptions options)
    {
        PemIdentity? identity = PemFiles.LoadIdentity(options.CertificateFile, options.KeyFile);
        if (options.ClientAuthorityFile is null)
            return identity is null ? null : new ServerTls(identity, null);
        if (identity is null)
            throw new ConfigurationException("--tls-client-ca needs --tls-cert and --tls-key");
        return new ServerTls(identity, PemFiles.LoadCertificates("--tls-client-ca", options.ClientAuthorityFile));
    }

    /// <summary>Encrypts a port.</summary>
    /// <param name="isForWorkers">Whether to ask callers for a certificate, if they are to have one.</param>
    public void Apply(ListenOptions endpoint, bool isForWorkers) => endpoint.UseHttps(new HttpsConnectionAdapterOptions
    {
        ServerCertificate = _identity.Certificate,
        ServerCertificateChain = _identity.Chain,
        HandshakeTimeout = HandshakeTimeout,
        ClientCertificateMode = isForWorkers && _clientAuthorities is not null ? ClientCertificateMode.AllowCertificate : ClientCertificateMode.NoCertificate,
        // Judged by RefuseClient before anything of the caller's is read, so that it gets to hear the reason.
        ClientCertificateValidation = static (_, _, _) => true,
    });

    /// <summary>Why a caller's certificate does not do; null when it does.</summary>
    public string? RefuseClient(X509Certificate2? certificate)
    {
        if (_clientAuthorities is null)
            return null;
        if (certificate is null)
            return "it has no client certificate; give it --tls-cert and --tls-key";
        using X509Chain chain = new() { ChainPolicy = PemFiles.TrustOnly(_clientAuthorities, ClientAuthentication) };
        return chain.Build(certificate) ? null : $"its client certificate is not good: {chain.ChainStatus[0].StatusInformation.Trim().TrimEnd('.')}";
    }
}
