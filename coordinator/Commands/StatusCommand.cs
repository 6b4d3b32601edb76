using System.CommandLine;
using System.Net.ServerSentEvents;
using System.Text.Json;
using Distributed.CommandLine;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Terminal;
using Spectre.Console;

namespace Distributed.Coordinator.Commands;

/// <summary>coordinator status: what the status endpoint of a run says, at a terminal.</summary>
internal static class StatusCommand
{
    private const string DefaultUrl = $"http://{StatusOptions.DefaultAddress}";

    // The coordinator sends several a second.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(10);

    // Where there is no terminal to ask for its own.
    private const int PlainWidth = 120;

    public static Command Create()
    {
        Option<string> url = new("--status") { Description = "of the run to look at, as `train` prints it", DefaultValueFactory = static _ => DefaultUrl, HelpName = "URL" };
        Option<bool> watch = new("--watch") { Description = "follow the run to its end" };
        Option<bool> health = new("--health") { Description = "only ask whether the coordinator is alive: for containers, which go by the exit code" };
        Option<string?> authority = new("--tls-ca") { Description = "with an https:// URL, trust certificates of these authorities alone, PEM (default: those of the system)", HelpName = "FILE" };
        Command command = new("status", "Show how a run is going.") { url, watch, health, authority };
        command.SetAction(async (parsed, cancellation) =>
        {
            Uri address = Parse(parsed.GetValue(url)!);
            using SocketsHttpHandler handler = new();
            if (parsed.GetValue(authority) is not null && address.Scheme != Uri.UriSchemeHttps)
                throw new ConfigurationException($"{authority.Name} needs an https:// URL, not --status {address}");
            if (parsed.GetValue(authority) is { } file)
                handler.SslOptions.CertificateChainPolicy = PemFiles.TrustOnly(PemFiles.LoadCertificates(authority.Name, file), PemFiles.ServerAuthentication);
            using HttpClient client = new(handler) { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };
            TextWriter output = parsed.InvocationConfiguration.Output;
            try
            {
                return parsed.GetValue(health) ? await CheckHealthAsync(client, output, cancellation).ConfigureAwait(false)
                    : parsed.GetValue(watch)
                    ? await WatchAsync(client, output, cancellation).ConfigureAwait(false)
                    : await ShowAsync(client, output, cancellation).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is HttpRequestException or IOException or JsonException or TimeoutException)
            {
                throw new RunFailedException($"--status {address}: {Describe(exception)}", exception);
            }
        });
        return command;
    }

    private static async Task<int> CheckHealthAsync(HttpClient client, TextWriter output, CancellationToken cancellation)
    {
        byte[] json = await client.GetByteArrayAsync("healthz", cancellation).WaitAsync(Silence, cancellation).ConfigureAwait(false);
        HealthDocument? health = JsonSerializer.Deserialize(json, StatusJson.Default.HealthDocument);
        await output.WriteLineAsync(health?.Status).ConfigureAwait(false);
        return 0;
    }

    private static async Task<int> ShowAsync(HttpClient client, TextWriter output, CancellationToken cancellation)
    {
        byte[] json = await client.GetByteArrayAsync("status", cancellation).WaitAsync(Silence, cancellation).ConfigureAwait(false);
        CreateConsole(output).Write(StatusView.Render(Read(json)));
        return 0;
    }

    /// <summary>Follows the run: at a terminal the whole picture, elsewhere a line for each epoch and change of state.</summary>
    private static async Task<int> WatchAsync(HttpClient client, TextWriter output, CancellationToken cancellation)
    {
        IAnsiConsole console = CreateConsole(output);
        StatusDocument? last = null;
        if (console.Profile.Capabilities.Interactive && console.Profile.Capabilities.Ansi)
        {
            await console.Live(new Text("")).StartAsync(async live =>
            {
                await foreach (StatusDocument status in ReadAsync(client, cancellation).ConfigureAwait(false))
                {
                    last = status;
                    live.UpdateTarget(StatusView.Render(status));
                }
            }).ConfigureAwait(false);
        }
        else
        {
            await foreach (StatusDocument status in ReadAsync(client, cancellation).ConfigureAwait(false))
            {
                if (last is null || (last.State, last.Epoch, last.History.Count) != (status.State, status.Epoch, status.History.Count))
                    await output.WriteLineAsync(StatusView.Line(status)).ConfigureAwait(false);
                last = status;
            }
        }

        return last?.State == RunState.Failed ? 1 : 0;
    }

    /// <summary>Each status until the coordinator says that it was the last.</summary>
    /// <exception cref="IOException">The coordinator is gone without having said so.</exception>
    private static async IAsyncEnumerable<StatusDocument> ReadAsync(
        HttpClient client, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation)
    {
        using CancellationTokenSource silence = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Stream stream = await client.GetStreamAsync("events", cancellation).WaitAsync(Silence, cancellation).ConfigureAwait(false);
        await using (stream.ConfigureAwait(false))
        {
            IAsyncEnumerator<SseItem<byte[]>> events = SseParser.Create(stream, static (_, data) => data.ToArray()).EnumerateAsync(silence.Token).GetAsyncEnumerator(silence.Token);
            await using (events.ConfigureAwait(false))
            {
                while (await IsMoreAsync(events).ConfigureAwait(false))
                {
                    if (events.Current.EventType == EventStream.EndEvent)
                        yield break;
                    if (events.Current.EventType == "status")
                        yield return Read(events.Current.Data);
                }
            }
        }

        throw new IOException("the coordinator is gone");

        // The read itself is ended: an enumerator cannot be left while it waits.
        async Task<bool> IsMoreAsync(IAsyncEnumerator<SseItem<byte[]>> events)
        {
            try
            {
                silence.CancelAfter(Silence);
                return await events.MoveNextAsync().ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
            {
                throw new TimeoutException();
            }
        }
    }

    private static StatusDocument Read(byte[] json) =>
        JsonSerializer.Deserialize(json, StatusJson.Default.StatusDocument) ?? throw new JsonException("the answer is empty");

    private static IAnsiConsole CreateConsole(TextWriter output)
    {
        if (ReferenceEquals(output, Console.Out) && !Console.IsOutputRedirected)
            return AnsiConsole.Console;
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Interactive = InteractionSupport.No, Out = new AnsiConsoleOutput(output) });
        console.Profile.Width = PlainWidth;
        return console;
    }

    private static Uri Parse(string text) =>
        Uri.TryCreate(text.Contains("://", StringComparison.Ordinal) ? text : $"http://{text}", UriKind.Absolute, out Uri? address) && address.Scheme is "http" or "https"
            ? address
            : throw new ConfigurationException($"--status must be a URL such as {DefaultUrl}, not '{text}'");

    private static string Describe(Exception exception) => exception switch
    {
        HttpRequestException { HttpRequestError: HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError } => "no coordinator answers there; `train` prints where it shows itself",
        HttpRequestException { StatusCode: { } code } => $"the answer is {(int)code}; is that a coordinator's status endpoint?",
        TimeoutException => "no answer came",
        JsonException => "the answer is not a status; is that a coordinator's status endpoint?",
        _ => "the coordinator is gone",
    };
}
