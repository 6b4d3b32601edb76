using Distributed.Coordinator.Hosting;

namespace Distributed.Coordinator.Status;

/// <summary>How a run is shown, with every default in this one place.</summary>
internal sealed record StatusOptions
{
    public const string DefaultAddress = "127.0.0.1:8080";

    /// <summary>What --status takes for no endpoint at all.</summary>
    public const string Off = "none";

    /// <summary>HOST:PORT to listen at; null: <see cref="DefaultAddress"/>, or a free port where that one is in use.</summary>
    public string? Address { get; init; }

    /// <summary>Names under which the endpoint may be called, beyond those of loopback and of <see cref="Address"/>.</summary>
    public IReadOnlyList<string> Hosts { get; init; } = [];

    /// <summary>How long the endpoint stays after the run's end; null: until interrupted.</summary>
    public TimeSpan? Linger { get; init; } = TimeSpan.Zero;

    /// <summary>Write TensorBoard event files.</summary>
    public bool TensorBoard { get; init; }

    public bool IsOn => Address != Off;

    /// <exception cref="ConfigurationException">An option is wrong.</exception>
    public void Validate()
    {
        if (IsOn)
            _ = Listen();
        if (Linger is { } linger && (linger < TimeSpan.Zero || linger > TimeSpan.FromDays(365)))
            throw new ConfigurationException($"--linger must be from 0 to {TimeSpan.FromDays(365).TotalSeconds:0} seconds, not {linger.TotalSeconds:0}");
        if (Linger != TimeSpan.Zero && !IsOn)
            throw new ConfigurationException($"--linger keeps the status endpoint up, but --status is {Off}");
        if (Hosts.FirstOrDefault(static host => host.Length == 0 || Uri.CheckHostName(host) == UriHostNameType.Unknown) is { } bad)
            throw new ConfigurationException($"--status-host must be a host name such as trainer.example, without port, not '{bad}'");
    }

    /// <summary>The address to listen at, checked.</summary>
    public ListenAddress Listen() => ListenAddress.Parse("--status", Address ?? DefaultAddress);
}
