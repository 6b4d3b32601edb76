using Distributed.CommandLine;
using Distributed.Exchange;

namespace Distributed.Worker.Session;

/// <summary>What a worker is told on its command line.</summary>
internal sealed record WorkerOptions
{
    /// <summary>Address of the coordinator's gRPC port.</summary>
    public required Uri Coordinator { get; init; }

    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>For people; the coordinator makes it unique.</summary>
    public string Name { get; init; } = $"{Environment.MachineName}-{Environment.ProcessId}";

    /// <summary>
    /// How long to look for a coordinator, at the start and after one was lost. Compose and the like start workers
    /// while the coordinator still downloads its data.
    /// </summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How weights and gradients may travel.</summary>
    public ExchangeChoice Exchange { get; init; } = ExchangeChoice.Auto;

    /// <summary>What lets this worker in; null: nothing.</summary>
    public JoinToken? Token { get; init; }

    /// <summary>How to tell the coordinator from an impostor, and what to show it.</summary>
    public ClientTls Tls { get; init; } = ClientTls.Default;

    /// <summary>The process belongs to whoever holds the other end of its standard input, and ends when that end closes.</summary>
    public bool IsOwned { get; init; }

    /// <exception cref="ConfigurationException">An option is out of range.</exception>
    public void Validate()
    {
        if (!Coordinator.IsAbsoluteUri || (Coordinator.Scheme != Uri.UriSchemeHttp && Coordinator.Scheme != Uri.UriSchemeHttps))
            throw new ConfigurationException($"--coordinator must be a URL such as http://127.0.0.1:5000, not '{Coordinator}'");
        if (Coordinator.Scheme == Uri.UriSchemeHttp && Tls != ClientTls.Default)
            throw new ConfigurationException($"--tls-ca, --tls-cert and --tls-key need an https:// URL, not --coordinator {Coordinator}");
        ExchangeKind.Check(Exchange);
        if (Exchange == ExchangeChoice.Shm && SharedSegment.Folder() is null)
            throw new ConfigurationException(ExchangeKind.Unavailable);
        if (Threads is < 1 or > 1024)
            throw new ConfigurationException($"--threads must be from 1 to 1024, not {Threads}");
        if (string.IsNullOrWhiteSpace(Name) || Name.Length > 100 || Name.Any(char.IsControl))
            throw new ConfigurationException("--name must be 1 to 100 printable characters");
        if (ConnectTimeout < TimeSpan.Zero || ConnectTimeout > TimeSpan.FromDays(7))
            throw new ConfigurationException($"--connect-timeout must be 0 seconds to 7 days, not {ConnectTimeout.TotalSeconds} s");
    }
}
