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

/// <summary>Measures workers by their last steps.</summary>
internal sealed class SpeedMeter
{
    /// <summary>Steps without which nothing is said.</summary>
    public const int Fewest = 8;

    private readonly Dictionary<int, Samples> _workers = [];

    /// <param name="timing">What the worker took.</param>
    /// <param name="step">What the whole step took.</param>
    public void Note(WorkerTiming timing, TimeSpan step)
    {
        if (timing.Shards == 0)
            return;
        if (!_workers.TryGetValue(timing.Worker, out Samples? samples))
            _workers.Add(timing.Worker, samples = new Samples(timing.Threads));
        double compute = timing.Compute.TotalSeconds;
        samples.Round.Add(compute / WorkerSpeed.Rounds(timing.Shards, timing.Threads), step.TotalSeconds);
        samples.Latency.Add(Math.Max(0, timing.Answered.TotalSeconds - compute), step.TotalSeconds);
    }

    /// <summary>The worker's speed, once enough is known.</summary>
    public WorkerSpeed? Find(int worker) =>
        _workers.TryGetValue(worker, out Samples? samples) && samples.Round.Count >= Fewest
            ? new WorkerSpeed(samples.Threads, samples.Round.Typical(), samples.Latency.Median())
            : null;

    public void Forget(int worker) => _workers.Remove(worker);

    private sealed class Samples(int threads)
    {
        public int Threads { get; } = threads;

        public RecentDurations Round { get; } = new();

        public RecentDurations Latency { get; } = new();
    }
}

/// <summary>
/// The last of a sequence of durations. What is typical of them is the greater of two measures, each blind where the other
/// sees: the median of the last <see cref="Window"/>, which shows a lasting change after half of them; and the mean over
/// <see cref="Span"/>, since a process with a quota of the processor runs at full speed for some steps and then stands still
/// for one. One hiccup (a collection, data on its way) moves neither, for the mean leaves the longest out.
/// </summary>
internal sealed class RecentDurations
{
    /// <summary>Steps for the median, and the fewest for the mean.</summary>
    public const int Window = 15;

    /// <summary>Seconds for the mean: several of the 0.1 s in which Linux reckons quotas.</summary>
    public const double Span = 0.4;

    private const int Kept = 256;

    private readonly double[] _values = new double[Kept];
    private readonly double[] _spans = new double[Kept];
    private int _added;

    public int Count => Math.Min(_added, Kept);

    /// <summary>Whether there are enough for both measures.</summary>
    public bool IsComplete { get; private set; }

    /// <param name="value">Seconds.</param>
    /// <param name="span">Seconds that passed meanwhile.</param>
    public void Add(double value, double span)
    {
        (_values[_added % Kept], _spans[_added % Kept]) = (value, span);
        _added++;
        IsComplete = IsComplete || Reach() is (var steps, >= Span) && steps >= Window || Count == Kept;
    }

    public void Clear() => (_added, IsComplete) = (0, false);

    public double Typical() => Math.Max(Median(), Mean());

    /// <summary>The middle one of the last few; of an even number, the lower of the two.</summary>
    public double Median()
    {
        Span<double> sorted = stackalloc double[Math.Min(Count, Window)];
        for (int i = 0; i < sorted.Length; i++)
            sorted[i] = _values[(_added - 1 - i) % Kept];
        sorted.Sort();
        return sorted[(sorted.Length - 1) / 2];
    }

    private double Mean()
    {
        (int steps, _) = Reach();
        double sum = 0, longest = 0;
        for (int i = 0; i < steps; i++)
        {
            double value = _values[(_added - 1 - i) % Kept];
            sum += value;
            longest = Math.Max(longest, value);
        }

        return steps > 1 ? (sum - longest) / (steps - 1) : sum;
    }

    /// <summary>How many of the last make up the span, or all.</summary>
    private (int Steps, double Seconds) Reach()
    {
        int steps = 0;
        double seconds = 0;
        while (steps < Count && (steps < Window || seconds < Span))
            seconds += _spans[(_added - 1 - steps++) % Kept];
        return (steps, seconds);
    }
}
