namespace Distributed.Coordinator.Security;

/// <summary>PEM files for the coordinator's ports; null where the option was not given.</summary>
/// <param name="CertificateFile">--tls-cert: the coordinator's certificate, and those between it and its authority.</param>
/// <param name="KeyFile">--tls-key: its key.</param>
/// <param name="ClientAuthorityFile">--tls-client-ca: workers must show a certificate of one of these authorities.</param>
internal sealed record TlsOptions(string? CertificateFile = null, string? KeyFile = null, string? ClientAuthorityFile = null);
