using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Distributed.Tests.Cluster;

/// <summary>An authority of a test's own, and PEM files of certificates that it gives out.</summary>
internal sealed class Certificates : IDisposable
{
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    private readonly ECDsa _key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
    private readonly X509Certificate2 _authority;
    private readonly string _directory;

    /// <param name="directory">Where the files go.</param>
    public Certificates(string directory, string name)
    {
        _directory = Directory.CreateDirectory(Path.Combine(directory, name)).FullName;
        CertificateRequest request = new($"CN={name}", _key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, false, 0, critical: true));
        _authority = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        File.WriteAllText(Authority, _authority.ExportCertificatePem());
    }

    /// <summary>The authority's own certificate.</summary>
    public string Authority => Path.Combine(_directory, "authority.pem");

    /// <summary>--tls-cert and --tls-key for a coordinator at the loopback address.</summary>
    public string[] Server() => Issue("server", ServerAuthentication);

    /// <summary>--tls-cert and --tls-key for a worker.</summary>
    public string[] Client() => Issue("client", ClientAuthentication);

    /// <summary>Reads pages of servers that have a certificate from here, and of no others.</summary>
    public HttpClient CreateReader()
    {
        X509ChainPolicy policy = new() { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.Add(_authority);
        return new HttpClient(new SocketsHttpHandler { UseProxy = false, SslOptions = { CertificateChainPolicy = policy } });
    }

    public void Dispose()
    {
        _authority.Dispose();
        _key.Dispose();
    }

    private string[] Issue(string name, string purpose)
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(purpose)], critical: false));
        SubjectAlternativeNameBuilder names = new();
        names.AddIpAddress(IPAddress.Loopback);
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 certificate = request.Create(_authority, _authority.NotBefore, _authority.NotAfter, RandomNumberGenerator.GetBytes(8));
        string certificateFile = Path.Combine(_directory, $"{name}.pem"), keyFile = Path.Combine(_directory, $"{name}.key");
        File.WriteAllText(certificateFile, certificate.ExportCertificatePem());
        File.WriteAllText(keyFile, key.ExportPkcs8PrivateKeyPem());
        return ["--tls-cert", certificateFile, "--tls-key", keyFile];
    }
}
