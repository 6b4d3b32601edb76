using System.Reflection;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace Distributed.Coordinator.Status;

/// <summary>
/// OpenTelemetry: metrics for whoever scrapes them, and where the standard OTEL_* variables name a collector, metrics and
/// traces by OTLP. Apart from that choice, everything about the export is the SDK's own reading of those variables.
/// </summary>
internal sealed class Telemetry : IDisposable
{
    private readonly TracerProvider? _tracing;
    private readonly MeterProvider? _exported;

    public Telemetry(bool isScraped)
    {
        ResourceBuilder resource = ResourceBuilder.CreateEmpty()
            .AddService("distributed-coordinator", serviceVersion: typeof(Telemetry).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0])
            .AddTelemetrySdk()
            .AddEnvironmentVariableDetector();
        // Two, since Prometheus' own rules do not allow all names of OpenTelemetry's conventions, which a collector expects.
        if (isScraped)
            Scraped = Prometheus(Instruments(resource)).Build();
        if (Exports("METRICS"))
            _exported = Instruments(resource).AddOtlpExporter().Build();
        if (Exports("TRACES"))
            _tracing = Sdk.CreateTracerProviderBuilder().SetResourceBuilder(resource).AddSource(RunTrace.SourceName).AddOtlpExporter().Build();
    }

    /// <summary>What /metrics shows; null where there is no endpoint.</summary>
    public MeterProvider? Scraped { get; }

    /// <summary>Sends what is still to be sent.</summary>
    public void Dispose()
    {
        _tracing?.Dispose();
        _exported?.Dispose();
        Scraped?.Dispose();
    }

    private static MeterProviderBuilder Instruments(ResourceBuilder resource) => Sdk.CreateMeterProviderBuilder()
        .SetResourceBuilder(resource)
        .AddMeter(TrainingMeter.Name)
        .AddRuntimeInstrumentation()
        .AddProcessInstrumentation();

    // To Prometheus a name that ends in _count belongs to a histogram.
    private static MeterProviderBuilder Prometheus(MeterProviderBuilder metrics) => metrics
        .AddPrometheusExporter(static prometheus => prometheus.ScrapeResponseCacheDurationMilliseconds = 300)
        .AddView("dotnet.assembly.count", "dotnet.assemblies")
        .AddView("dotnet.process.cpu.count", "dotnet.process.cpus")
        .AddView("dotnet.timer.count", "dotnet.timers")
        .AddView("process.thread.count", "process.threads")
        .AddView("process.unix.file_descriptor.count", "process.open_file_descriptors");

    /// <summary>Whether the environment asks for the export of a signal.</summary>
    private static bool Exports(string signal)
    {
        if (string.Equals(Variable("OTEL_SDK_DISABLED"), "true", StringComparison.OrdinalIgnoreCase))
            return false;
        return Variable($"OTEL_{signal}_EXPORTER") switch
        {
            "none" => false,
            { } exporter when exporter.Contains("otlp", StringComparison.Ordinal) => true,
            _ => Variable("OTEL_EXPORTER_OTLP_ENDPOINT") is not null || Variable($"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") is not null,
        };
    }

    private static string? Variable(string name) => Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : null;
}
