using System.Net.ServerSentEvents;
using System.Text.Json;
using System.Text.Json.Nodes;
using Distributed.Tests.Cluster;

namespace Distributed.Tests.Status;

/// <summary>Reads /events as a program would.</summary>
internal static class EventReader
{
    /// <summary>Each status, to the end of the stream.</summary>
    /// <param name="end">Called when the stream says that it ends.</param>
    public static async IAsyncEnumerable<JsonNode> ReadAsync(HttpClient client, Action? end = null)
    {
        using CancellationTokenSource guard = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        guard.CancelAfter(ProgramRun.Deadline);
        CancellationToken cancellation = guard.Token;
        await using Stream stream = await client.GetStreamAsync("/events", cancellation);
        await foreach (SseItem<string> item in SseParser.Create(stream).EnumerateAsync(cancellation))
        {
            if (item.EventType == "status")
                yield return JsonNode.Parse(item.Data)!;
            else if (item.EventType == "end")
                end?.Invoke();
        }
    }

    /// <summary>The first status that fits.</summary>
    public static async Task<JsonNode> UntilAsync(HttpClient client, Func<JsonNode, bool> fits)
    {
        await foreach (JsonNode status in ReadAsync(client))
        {
            if (fits(status))
                return status;
        }

        throw new Xunit.Sdk.XunitException("the stream ended before the status that was waited for");
    }

    public static string State(this JsonNode status) => status["state"]!.GetValue<string>();
}
