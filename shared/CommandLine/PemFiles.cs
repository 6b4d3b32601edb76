using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Distributed.Data;

namespace Distributed.CommandLine;

/// <summary>A certificate with its key, and the certificates between it and an authority.</summary>
public sealed record PemIdentity(X509Certificate2 Certificate, X509Certificate2Collection Chain);

/// <summary>Reads what TLS needs from PEM files, naming option and file where it cannot.</summary>
public static class PemFiles
{
    /// <summary>Object identifier of the extended key usage of a server's certificate.</summary>
    public const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";

    /// <summary>--tls-cert and --tls-key; null where neither was given.</summary>
    /// <exception cref="ConfigurationException">One is missing or cannot be used.</exception>
    public static PemIdentity? LoadIdentity(string? certificateFile, string? keyFile)
    {
        if (certificateFile is null && keyFile is null)
            return null;
        if (certificateFile is null || keyFile is null)
            throw new ConfigurationException("--tls-cert and --tls-key belong together: the certificate and its key, as PEM files");
        X509Certificate2Collection chain = LoadCertificates("--tls-cert", certificateFile);
        string key = Read("--tls-key", keyFile);
        try
        {
            using X509Certificate2 pair = X509Certificate2.CreateFromPem(Read("--tls-cert", certificateFile), key);
            // Windows' TLS takes no key that lives in memory alone.
            X509Certificate2 certificate = X509CertificateLoader.LoadPkcs12(pair.Export(X509ContentType.Pkcs12), null);
            return new PemIdentity(certificate, chain);
        }
        catch (Exception fault) when (fault is CryptographicException or ArgumentException)
        {
            throw new ConfigurationException($"--tls-key {keyFile} is not the key of --tls-cert {certificateFile}, or is encrypted", fault);
        }
    }

    /// <summary>The authorities that a file holds: one certificate or several.</summary>
    /// <exception cref="ConfigurationException">The file cannot be read or holds none.</exception>
    public static X509Certificate2Collection LoadCertificates(string option, string file)
    {
        string text = Read(option, file);
        X509Certificate2Collection certificates = [];
        try
        {
            certificates.ImportFromPem(text);
        }
        catch (CryptographicException)
        {
            certificates.Clear();
        }

        return certificates.Count > 0 ? certificates : throw new ConfigurationException($"{option} {file} holds no certificate in PEM form");
    }

    /// <summary>How to judge a peer's certificate: by these authorities alone. Revocation lists are not asked for.</summary>
    /// <param name="purpose">Object identifier of the extended key usage it must allow.</param>
    public static X509ChainPolicy TrustOnly(X509Certificate2Collection authorities, string purpose)
    {
        X509ChainPolicy policy = new() { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
        policy.CustomTrustStore.AddRange(authorities);
        policy.ApplicationPolicy.Add(new Oid(purpose));
        return policy;
    }

    private static string Read(string option, string file)
    {
        try
        {
            return File.ReadAllText(file);
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new ConfigurationException($"{option} {file}: {FileFault.Describe(refusal)}", refusal);
        }
    }
}
