using System.Text.Json.Nodes;
using Json.Schema;

namespace Distributed.Tests.Status;

/// <summary>The schemas of an endpoint's own OpenAPI document, to hold what it says against.</summary>
internal sealed class StatusSchema(JsonNode openApi)
{
    public static async Task<StatusSchema> FetchAsync(HttpClient client) =>
        new(JsonNode.Parse(await client.GetStringAsync("/openapi/v1.json", TestContext.Current.CancellationToken))!);

    public JsonNode OpenApi { get; } = openApi;

    /// <summary>Fails, telling where and why, unless the document is as the schema of that name says.</summary>
    public void Check(string name, JsonNode? document)
    {
        JsonNode definitions = JsonNode.Parse(OpenApi["components"]!["schemas"]!.ToJsonString().Replace("#/components/schemas/", "#/$defs/", StringComparison.Ordinal))!;
        JsonObject schema = new() { ["$ref"] = $"#/$defs/{name}", ["$defs"] = definitions };
        EvaluationResults results = JsonSchema.FromText(schema.ToJsonString()).Evaluate(document.Deserialize(), new EvaluationOptions { OutputFormat = OutputFormat.List });
        Assert.True(
            results.IsValid,
            string.Join('\n', (results.Details ?? []).Where(static detail => detail.Errors is { Count: > 0 }).Select(static detail => $"{detail.InstanceLocation}: {string.Join("; ", detail.Errors!.Values)}")));
    }
}

file static class Documents
{
    public static System.Text.Json.JsonElement Deserialize(this JsonNode? node) => System.Text.Json.JsonSerializer.SerializeToElement(node);
}
