using System.Collections.Immutable;

namespace Distributed.Coordinator.Members;

/// <summary>
/// Gives each worker as many shards as it is measured to be fast for, so that no step waits for the slowest machine. It
/// changes the shares only for a clear gain, and looks whether the gain has come: where it has not (two workers on the same
/// cores take time from each other, which no measurement of either tells) it goes back, and does not try the same again soon
/// unless the speeds have changed. Decides alone; time comes to it as the durations of steps.
/// </summary>
internal sealed class LeaseBalancer(int shards)
{
    /// <summary>After workers came or went, nothing is changed for so long: caches are cold and data is on its way.</summary>
    public static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);

    // Part of the step's time that a change must promise, and seconds; what is less is noise.
    private const double LeastGain = 0.15;
    private const double LeastSeconds = 100e-6;

    // A change that made steps longer than this was none for the better.
    private const double Tolerated = 1.02;

    // What is obviously bad is not endured for a whole window.
    private const double Unbearable = 1.5;
    private const int StepsToSeeIt = 4;

    // A change must have looked worth while for this long, in steps or else in seconds. Operating systems put two workers on
    // one core for tens of milliseconds at a time, and then part them by themselves.
    private const int StepsToBelieve = 30;
    private const double SecondsToBelieve = 1;

    private const double SameSpeed = 1.25;
    private const int StepsBetweenLooks = 5;
    private const int RetryAfterSteps = 1000;
    private const int MostDoublings = 6;

    private readonly SpeedMeter _meter = new();
    private readonly RecentDurations _steps = new();
    private readonly Dictionary<int, int> _idleSteps = [];
    private readonly Dictionary<(string From, string To), Failure> _failures = [];
    private Trial? _trial;
    private long _step;
    private long _dealtAt;
    private int _wantedSteps;
    private double _wantedSeconds;
    private TimeSpan _warmedUp;

    /// <summary>The speed that a worker was measured to have, if it has been for long enough.</summary>
    public WorkerSpeed? SpeedOf(int worker) => _meter.Find(worker);

    /// <summary>Others are in than before: shares for them by what is known of them, the unknown being taken for as fast as the others.</summary>
    public ImmutableArray<int> Deal(ImmutableArray<Member> members)
    {
        _trial = null;
        _failures.Clear();
        _idleSteps.Clear();
        _warmedUp = TimeSpan.Zero;
        BeginDeal();
        return Speeds(members) is { } speeds ? LeasePlanner.ShareBySpeed(shards, speeds) : LeasePlanner.ShareEvenly(shards, members.Length);
    }

    /// <summary>Whoever left is not known any more.</summary>
    public void Forget(int worker)
    {
        _meter.Forget(worker);
        _idleSteps.Remove(worker);
    }

    /// <summary>Learns from a step that went undisturbed.</summary>
    /// <param name="exchange">From the first order to the last partial.</param>
    public void Note(ReadOnlySpan<WorkerTiming> timings, TimeSpan exchange)
    {
        _step++;
        _warmedUp += exchange;
        if (_warmedUp < WarmUp)
            return;
        _steps.Add(exchange.TotalSeconds, exchange.TotalSeconds);
        _wantedSteps++;
        _wantedSeconds += exchange.TotalSeconds;
        foreach (WorkerTiming timing in timings)
            _meter.Note(timing, exchange);
    }

    /// <summary>Whether to ask for better shares now, between two steps: not after each, since it takes some reckoning.</summary>
    public bool IsDue => IsFailing || (_steps.Count >= RecentDurations.Window && (_step - _dealtAt) % StepsBetweenLooks == 0);

    private bool IsFailing => _trial is { } trial && _steps.Count >= StepsToSeeIt && _steps.Median() > trial.Seconds * Unbearable;

    /// <summary>Better shares than these, or null where they are to stay.</summary>
    /// <param name="members">The same as were dealt to.</param>
    /// <param name="shares">What each of them has.</param>
    public ImmutableArray<int>? Improve(ImmutableArray<Member> members, ImmutableArray<int> shares)
    {
        if (_trial is { } failing && IsFailing)
            return GoBack(failing, shares);
        ForgetIdle(members, shares);
        if (Speeds(members) is not { } speeds)
            return null;
        double seconds = _steps.Typical();
        if (_trial is { } trial)
        {
            if (!_steps.IsComplete)
                return null;
            if (seconds > trial.Seconds * Tolerated)
                return GoBack(trial, shares);
            Remember(shares, trial.From, speeds);
            _trial = null;
        }

        ImmutableArray<int> better = LeasePlanner.ShareBySpeed(shards, speeds);
        double now = Predict(speeds, shares);
        double gain = now - Predict(speeds, better);
        if (gain < LeastSeconds || gain < now * LeastGain || HasFailed(shares, better, speeds))
        {
            (_wantedSteps, _wantedSeconds) = (0, 0);
            return null;
        }

        if (_wantedSteps < StepsToBelieve && _wantedSeconds < SecondsToBelieve)
            return null;
        _trial = new Trial(shares, speeds, seconds);
        BeginDeal();
        return better;
    }

    private ImmutableArray<int> GoBack(Trial trial, ImmutableArray<int> shares)
    {
        Remember(trial.From, shares, trial.Speeds);
        _trial = null;
        BeginDeal();
        return trial.From;
    }

    private void BeginDeal()
    {
        _dealtAt = _step;
        (_wantedSteps, _wantedSeconds) = (0, 0);
        _steps.Clear();
    }

    private void Remember(ImmutableArray<int> from, ImmutableArray<int> to, WorkerSpeed[] speeds)
    {
        (string, string) move = (Key(from), Key(to));
        int doublings = _failures.TryGetValue(move, out Failure? earlier) ? Math.Min(earlier.Doublings + 1, MostDoublings) : 0;
        _failures[move] = new Failure(speeds, _step + ((long)RetryAfterSteps << doublings), doublings);
    }

    private bool HasFailed(ImmutableArray<int> from, ImmutableArray<int> to, WorkerSpeed[] speeds) =>
        _failures.TryGetValue((Key(from), Key(to)), out Failure? failure)
        && _step < failure.RetryAt
        && speeds.Zip(failure.Speeds).All(static pair => IsSame(pair.First.Round, pair.Second.Round));

    /// <summary>A worker without shards shows no speed: after a while it is taken for unknown, and so tried again.</summary>
    private void ForgetIdle(ImmutableArray<Member> members, ImmutableArray<int> shares)
    {
        for (int rank = 0; rank < members.Length; rank++)
        {
            int worker = members[rank].Id;
            int idle = shares[rank] > 0 ? 0 : _idleSteps.GetValueOrDefault(worker) + StepsBetweenLooks;
            _idleSteps[worker] = idle;
            if (idle >= RetryAfterSteps)
                Forget(worker);
        }
    }

    private WorkerSpeed[]? Speeds(ImmutableArray<Member> members)
    {
        WorkerSpeed?[] known = [.. members.Select(member => _meter.Find(member.Id))];
        double[] rounds = [.. known.Where(static speed => speed is not null).Select(static speed => speed!.Value.Round).Order()];
        if (rounds.Length == 0)
            return null;
        double latency = known.Min(static speed => speed?.Latency) ?? 0;
        double usual = rounds[(rounds.Length - 1) / 2];
        return [.. members.Select((member, rank) => known[rank] ?? new WorkerSpeed(member.Threads, usual, latency))];
    }

    private static bool IsSame(double a, double b) => a < b * SameSpeed && b < a * SameSpeed;

    private static double Predict(WorkerSpeed[] speeds, ImmutableArray<int> shares) =>
        speeds.Zip(shares).Max(static pair => pair.First.Predict(pair.Second));

    private static string Key(ImmutableArray<int> shares) => string.Join(',', shares);

    /// <param name="From">The shares before.</param>
    /// <param name="Speeds">As measured under them.</param>
    /// <param name="Seconds">A step's under them.</param>
    private sealed record Trial(ImmutableArray<int> From, WorkerSpeed[] Speeds, double Seconds);

    /// <param name="Speeds">As measured before the move that brought nothing.</param>
    /// <param name="RetryAt">The step from which on it may be tried again though nothing has changed.</param>
    private sealed record Failure(WorkerSpeed[] Speeds, long RetryAt, int Doublings);
}
