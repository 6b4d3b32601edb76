namespace Distributed.Coordinator.Members;

/// <summary>What a worker took for its part of one step.</summary>
/// <param name="Shards">Microbatches that it computed.</param>
/// <param name="Compute">From the order's arrival at the worker to its last partial's completion.</param>
/// <param name="Answered">From the order's leave of the coordinator to the last partial's arrival there.</param>
internal readonly record struct WorkerTiming(int Worker, int Threads, int Shards, TimeSpan Compute, TimeSpan Answered);

/// <summary>How fast a worker is.</summary>
/// <param name="Threads">Microbatches that it computes at a time.</param>
/// <param name="Round">Seconds for each thread's microbatch.</param>
/// <param name="Latency">Seconds of each step that pass on the way, however many microbatches there are.</param>
internal readonly record struct WorkerSpeed(int Threads, double Round, double Latency)
{
    /// <summary>Seconds until so many shards' partials are back.</summary>
    public double Predict(int shards) => shards == 0 ? 0 : Latency + (Rounds(shards, Threads) * Round);

    /// <summary>How often the threads take a microbatch each.</summary>
    public static int Rounds(int shards, int threads) => (shards + threads - 1) / threads;
}

/// <summary>
/// Measures workers by their last <see cref="Window"/> steps. Medians, so that one hiccup (a collection, a shard's data on
/// its way) is nothing, and a lasting change shows after half a window.
/// </summary>
internal sealed class SpeedMeter
{
    /// <summary>Steps that are looked back on.</summary>
    public const int Window = 15;

    /// <summary>Steps without which nothing is said.</summary>
    public const int Fewest = 8;

    private readonly Dictionary<int, Samples> _workers = [];

    public void Note(WorkerTiming timing)
    {
        if (timing.Shards == 0)
            return;
        if (!_workers.TryGetValue(timing.Worker, out Samples? samples))
            _workers.Add(timing.Worker, samples = new Samples(timing.Threads));
        double compute = timing.Compute.TotalSeconds;
        samples.Round.Add(compute / WorkerSpeed.Rounds(timing.Shards, timing.Threads));
        samples.Latency.Add(Math.Max(0, timing.Answered.TotalSeconds - compute));
    }

    /// <summary>The worker's speed, once enough is known.</summary>
    public WorkerSpeed? Find(int worker) =>
        _workers.TryGetValue(worker, out Samples? samples) && samples.Round.Count >= Fewest
            ? new WorkerSpeed(samples.Threads, samples.Round.Median(), samples.Latency.Median())
            : null;

    public void Forget(int worker) => _workers.Remove(worker);

    private sealed class Samples(int threads)
    {
        public int Threads { get; } = threads;

        public RecentValues Round { get; } = new(Window);

        public RecentValues Latency { get; } = new(Window);
    }
}

/// <summary>The last few of a sequence of measurements.</summary>
internal sealed class RecentValues(int window)
{
    private readonly double[] _values = new double[window];
    private int _added;

    public int Count => Math.Min(_added, window);

    public void Add(double value) => _values[_added++ % window] = value;

    public void Clear() => _added = 0;

    /// <summary>The middle one; of an even number, the lower of the two.</summary>
    public double Median()
    {
        double[] sorted = _values[..Count];
        Array.Sort(sorted);
        return sorted[(Count - 1) / 2];
    }
}
