using System.Diagnostics.Tracing;

namespace Distributed.Tests;

/// <summary>Samples what this process allocates, by the runtime's own events: one for every 100 KB or so, with the type of the object at hand.</summary>
internal sealed class AllocationWatch : EventListener
{
    private const string Runtime = "Microsoft-Windows-DotNETRuntime";
    private const EventKeywords Collector = (EventKeywords)1;

    // Messages and what carries them, events, what channels wait by, and owners of memory. Types within others have bare names here.
    private static readonly string[] s_ofSteps =
    [
        "Distributed.Protos.", "Distributed.Reduction.", "Distributed.Coordinator.Hosting.", "Distributed.Coordinator.Training.PartialArrived", "Google.Protobuf.",
        "System.Threading.Channels.", "System.UInt64[]", "ArrayMemoryPoolBuffer", "Arrival", "Block", "Slot[",
    ];

    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _samples = [];
    private volatile bool _isOn;

    /// <summary>From now on samples count.</summary>
    public void Start() => _isOn = true;

    /// <summary>No more samples count.</summary>
    public void Stop() => _isOn = false;

    /// <summary>That nothing of a step's, as far as it is this project's to make, was sampled more than once: heartbeats are made by the second.</summary>
    public void AssertNothingOfSteps()
    {
        lock (_lock)
        {
            foreach ((string type, int samples) in _samples.OrderByDescending(static pair => pair.Value))
                TestContext.Current.TestOutputHelper?.WriteLine($"{samples} {type}");
            Assert.NotEmpty(_samples);
            Assert.InRange(_samples.Where(static pair => s_ofSteps.Any(pair.Key.StartsWith)).Sum(static pair => pair.Value), 0, 1);
        }
    }

    protected override void OnEventSourceCreated(EventSource eventSource)
    {
        if (eventSource.Name == Runtime)
            EnableEvents(eventSource, EventLevel.Verbose, Collector);
    }

    protected override void OnEventWritten(EventWrittenEventArgs eventData)
    {
        if (!_isOn || eventData.EventName?.StartsWith("GCAllocationTick", StringComparison.Ordinal) != true)
            return;
        string type = (string)eventData.Payload![eventData.PayloadNames!.IndexOf("TypeName")]!;
        lock (_lock)
            _samples[type] = _samples.GetValueOrDefault(type) + 1;
    }
}
