using System.Text.Json;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Distributed.Coordinator.Status;

/// <summary>What can be asked at the status port; all of it only reads.</summary>
internal static class StatusEndpoints
{
    private const string Json = "application/json";
    private const string EventStreamType = "text/event-stream";

    public static void Map(WebApplication application, RunMonitor monitor, StatusComposer composer, Serialized serialized, EventStream events)
    {
        RouteGroupBuilder app = application.MapGroup("").WithTags("status");
        app.MapGet("/status", () => TypedResults.Bytes(serialized.Status(), Json))
            .Produces<StatusDocument>(StatusCodes.Status200OK, Json).WithName("status").WithSummary("The run as it is now.");
        app.MapGet("/events", (HttpContext context, CancellationToken aborted) => SendEventsAsync(context, events, aborted))
            .Produces<StatusDocument>(StatusCodes.Status200OK, EventStreamType).WithName("events")
            .WithSummary("The same as server-sent events named 'status', a few a second; one named 'end' is the last.");
        app.MapGet("/curve", () => TypedResults.Bytes(JsonSerializer.SerializeToUtf8Bytes(monitor.Curve.Read(), StatusJson.Default.CurveDocument), Json))
            .Produces<CurveDocument>(StatusCodes.Status200OK, Json).WithName("curve").WithSummary($"Loss, accuracy and throughput over the steps, in at most {LearningCurve.MostPoints} points.");
        app.MapGet("/result", () => Result(composer))
            .Produces<ResultDocument>(StatusCodes.Status200OK, Json).ProducesProblem(StatusCodes.Status404NotFound)
            .WithName("result").WithSummary("Confusion matrix and wrongly answered test images at the last epoch's end.");
        app.MapGet("/healthz", () => TypedResults.Bytes(Health("alive", monitor), Json))
            .Produces<HealthDocument>(StatusCodes.Status200OK, Json).WithName("healthz").WithSummary("Whether the coordinator is alive.");
        app.MapGet("/readyz", () => Ready(monitor))
            .Produces<HealthDocument>(StatusCodes.Status200OK, Json).ProducesProblem(StatusCodes.Status503ServiceUnavailable)
            .WithName("readyz").WithSummary("Whether it accepts workers or trains.");

        MapFile(app, "/", static () => DashboardFiles.Page);
        MapFile(app, "/dashboard.css", static () => DashboardFiles.Style);
        MapFile(app, "/dashboard.js", static () => DashboardFiles.Script);
        MapFile(app, "/charts.js", static () => DashboardFiles.Charts);
        MapFile(app, "/echarts.js", static () => DashboardFiles.Library);
    }

    private static void MapFile(RouteGroupBuilder app, string path, Func<DashboardFile> file) =>
        app.MapGet(path, (HttpContext context) => file().SendAsync(context)).ExcludeFromDescription();

    private static Results<FileContentHttpResult, ProblemHttpResult> Result(StatusComposer composer) => composer.Result() is { } result
        ? TypedResults.Bytes(JsonSerializer.SerializeToUtf8Bytes(result, StatusJson.Default.ResultDocument), Json)
        : TypedResults.Problem("The test set is scored at the end of each epoch; this process has not ended one yet.", statusCode: StatusCodes.Status404NotFound);

    private static Results<FileContentHttpResult, ProblemHttpResult> Ready(RunMonitor monitor)
    {
        RunState state = monitor.State;
        return monitor.Run is null
            ? TypedResults.Problem("The data set is still being loaded.", statusCode: StatusCodes.Status503ServiceUnavailable)
            : state is RunState.Waiting or RunState.Training or RunState.Evaluating or RunState.Paused
                ? TypedResults.Bytes(Health("ready", monitor), Json)
                : TypedResults.Problem($"The run is {state.ToString().ToLowerInvariant()}.", statusCode: StatusCodes.Status503ServiceUnavailable);
    }

    private static byte[] Health(string status, RunMonitor monitor) =>
        JsonSerializer.SerializeToUtf8Bytes(new HealthDocument(status, monitor.State), StatusJson.Default.HealthDocument);

    private static async Task SendEventsAsync(HttpContext context, EventStream events, CancellationToken aborted)
    {
        context.Response.ContentType = EventStreamType;
        try
        {
            await events.SendAsync(
                async (frame, cancellation) => await context.Response.BodyWriter.WriteAsync(frame, cancellation).ConfigureAwait(false),
                aborted).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException or IOException)
        {
            // Gone, or too slow: what is still in its buffers is not worth waiting for.
            context.Abort();
        }
    }
}
