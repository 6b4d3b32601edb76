using System.CommandLine;
using Distributed.CommandLine;
using Distributed.Exchange;
using Distributed.Worker.Session;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;

namespace Distributed.Worker.Commands;

/// <summary>The worker itself: joins a coordinator and computes for it until it is let go.</summary>
internal static class JoinCommand
{
    private static readonly Option<string> Coordinator = new("--coordinator")
    {
        Description = "URL of the coordinator's gRPC port, such as http://127.0.0.1:5000",
        HelpName = "URL",
    };

    private static readonly Option<int> Threads = new("--threads")
    {
        Description = "Compute threads; all cores unless told otherwise",
        DefaultValueFactory = static _ => Environment.ProcessorCount,
    };

    private static readonly Option<string?> Name = new("--name") { Description = "What the coordinator calls this worker" };

    private static readonly Option<int> ConnectTimeout = new("--connect-timeout")
    {
        Description = "Seconds to look for a coordinator, at the start or when one is lost, before giving up",
        DefaultValueFactory = static _ => 600,
    };

    private static readonly Option<ExchangeChoice> Exchange = new("--exchange")
    {
        Description = "How weights and gradients travel: over shared memory (shm) if the coordinator is on this host, else grpc; or one of them alone",
        DefaultValueFactory = static _ => ExchangeChoice.Auto,
        HelpName = "auto|shm|grpc",
    };

    private static readonly Option<string?> TokenFile = new(JoinToken.Option)
    {
        Description = $"File with the join token, where the coordinator asks for one (default: the environment variable {JoinToken.Variable})",
        HelpName = "FILE",
    };

    private static readonly Option<string?> Authority = new("--tls-ca")
    {
        Description = "Trust a coordinator with a certificate of these authorities alone, PEM (default: those of the system)",
        HelpName = "FILE",
    };

    private static readonly Option<string?> Certificate = new("--tls-cert") { Description = "Certificate to show the coordinator, PEM", HelpName = "FILE" };
    private static readonly Option<string?> Key = new("--tls-key") { Description = "Its key, PEM", HelpName = "FILE" };

    // Not for people: the coordinator's single-machine mode holds the other end of standard input.
    internal static readonly Option<bool> Owned = new("--owned") { Hidden = true };

    public static void AddTo(RootCommand root)
    {
        root.Options.Add(Coordinator);
        root.Options.Add(Threads);
        root.Options.Add(Name);
        root.Options.Add(ConnectTimeout);
        root.Options.Add(Exchange);
        foreach (Option option in (ReadOnlySpan<Option>)[TokenFile, Authority, Certificate, Key])
            root.Options.Add(option);
        root.Options.Add(Owned);
        root.SetAction(RunAsync);
    }

    private static async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string address = parsed.GetValue(Coordinator)
            ?? throw new ConfigurationException("--coordinator is missing: the URL of the coordinator's gRPC port, such as http://127.0.0.1:5000");
        if (!Uri.TryCreate(address, UriKind.Absolute, out Uri? uri))
            throw new ConfigurationException($"--coordinator must be a URL such as http://127.0.0.1:5000, not '{address}'");
        WorkerOptions options = new()
        {
            Coordinator = uri,
            Threads = parsed.GetValue(Threads),
            Exchange = parsed.GetValue(Exchange),
            ConnectTimeout = TimeSpan.FromSeconds(parsed.GetValue(ConnectTimeout)),
            Token = JoinToken.Read(parsed.GetValue(TokenFile)),
            Tls = ClientTls.Load(parsed.GetValue(Authority), parsed.GetValue(Certificate), parsed.GetValue(Key)),
            IsOwned = parsed.GetValue(Owned),
        };
        if (parsed.GetValue(Name) is { } name)
            options = options with { Name = name };
        options.Validate();
        if (options.IsOwned)
            OwnerWatch.Start();

        using ILoggerFactory logging = LoggerFactory.Create(static builder => builder
            .AddSimpleConsole(static console =>
            {
                console.SingleLine = true;
                console.ColorBehavior = LoggerColorBehavior.Disabled;
            })
            .Services.Configure<ConsoleLoggerOptions>(static console => console.LogToStandardErrorThreshold = LogLevel.Trace));
        await new WorkerHost(options, TimeProvider.System, logging).RunAsync(cancellation).ConfigureAwait(false);
        return 0;
    }
}
