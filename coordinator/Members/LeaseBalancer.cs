using System.Collections.Immutable;

namespace Distributed.Coordinator.Members;

/// <summary>
/// Gives each worker as many shards as it is measured to be fast for, so that no step waits for the slowest machine. It
/// changes the shares only for a clear gain, and looks whether the gain has come: where it has not (two workers on the same
/// cores take time from each other, which no measurement of either tells) it goes back, and does not try the same again soon
/// unless the speeds have changed. Where workers of one host have more threads than it has cores, it tries fewer of them: each
/// packs the weights for itself and fills caches that the next one empties. Decides alone; time comes to it as the durations of steps.
/// </summary>
/// <param name="cores">Of the host of this process and its near workers.</param>
internal sealed class LeaseBalancer(int shards, int cores)
{
    /// <summary>After workers came or went, nothing is changed for so long: caches are cold and data is on its way.</summary>
    public static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);

    // Part of the step's time that a change must promise, and seconds; what is less is noise.
    private const double LeastGain = 0.15;
    private const double LeastSeconds = 100e-6;

    // A change that made steps longer than this was none for the better.
    private const double Tolerated = 1.02;

    // Fewer workers must be worth it: to see them all at work is what they were started for.
    private const double ToleratedOfFewer = 0.97;

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
    private const int DoublingsOfLimit = 3;

    private readonly SpeedMeter _meter = new();
    private readonly RecentDurations _steps = new();
    private readonly Dictionary<int, int> _idleSteps = [];
    private readonly List<Failure> _failures = [];

    // Of each member, filled anew at every look, which so allocates nothing: speeds, those of them that are measured, shares.
    private WorkerSpeed[] _speeds = [];
    private double[] _rounds = [];
    private int[] _better = [];
    private Trial? _trial;

    // Fewer workers were no better: when to try them again.
    private (long RetryAt, int Doublings) _fewer;

    // Fewer workers were better: for how long no more of them than there are cores for are to have shards. Something else may have made
    // them look better, and who has no shards shows no speed.
    private (long Until, int Doublings) _limit;
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
        _fewer = default;
        _limit = default;
        _idleSteps.Clear();
        _warmedUp = TimeSpan.Zero;
        BeginDeal();
        (_speeds, _rounds, _better) = (new WorkerSpeed[members.Length], new double[members.Length], new int[members.Length]);
        if (!LookAtSpeeds(members))
            return LeasePlanner.ShareEvenly(shards, members.Length);
        LeasePlanner.ShareBySpeed(shards, _speeds, _better);
        return [.. _better];
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
        if (!LookAtSpeeds(members))
            return null;
        double seconds = _steps.Typical();
        if (_trial is { } trial)
        {
            if (!_steps.IsComplete)
                return null;
            if (seconds > trial.Seconds * (trial.IsOfFewer ? ToleratedOfFewer : Tolerated))
                return GoBack(trial, shares);
            Remember(shares, trial.From, _speeds);
            if (trial.IsOfFewer)
                LimitAgain();
            _trial = null;
        }

        bool isCrowded = LeasePlanner.ShareAmongFewer(members, shares, cores, _better);
        if (isCrowded && _step >= _fewer.RetryAt)
            return _steps.IsComplete ? Try(shares, seconds, isOfFewer: true) : null;

        LeasePlanner.ShareBySpeed(shards, _speeds, _better, members, _step < _limit.Until ? cores : int.MaxValue);
        double now = Predict(shares.AsSpan());
        double gain = now - Predict(_better);
        if (gain < LeastSeconds || gain < now * LeastGain || HasFailed(shares.AsSpan(), _better))
        {
            (_wantedSteps, _wantedSeconds) = (0, 0);
            return null;
        }

        if (_wantedSteps < StepsToBelieve && _wantedSeconds < SecondsToBelieve)
            return null;
        return Try(shares, seconds, isOfFewer: false);
    }

    private ImmutableArray<int> Try(ImmutableArray<int> shares, double seconds, bool isOfFewer)
    {
        _trial = new Trial(shares, [.. _speeds], seconds, isOfFewer);
        BeginDeal();
        return [.. _better];
    }

    private ImmutableArray<int> GoBack(Trial trial, ImmutableArray<int> shares)
    {
        if (trial.IsOfFewer)
        {
            _fewer = (_step + ((long)RetryAfterSteps << _fewer.Doublings), Math.Min(_fewer.Doublings + 1, MostDoublings));
        }
        else
        {
            Remember(trial.From, shares, trial.Speeds);
            if (_limit.Until > 0)
                LimitAgain();
        }

        _trial = null;
        BeginDeal();
        return trial.From;
    }

    /// <summary>Holds to fewer workers from here on: for some seconds at first, and longer each time that nothing else was better.</summary>
    private void LimitAgain()
    {
        int doublings = _limit.Until == 0 ? DoublingsOfLimit : Math.Min(_limit.Doublings + 1, MostDoublings);
        _limit = (_step + ((long)RetryAfterSteps << doublings), doublings);
    }

    private void BeginDeal()
    {
        _dealtAt = _step;
        (_wantedSteps, _wantedSeconds) = (0, 0);
        _steps.Clear();
    }

    private void Remember(ImmutableArray<int> from, ImmutableArray<int> to, ReadOnlySpan<WorkerSpeed> speeds)
    {
        int doublings = 0;
        if (FindFailure(from.AsSpan(), to.AsSpan()) is { } earlier)
        {
            doublings = Math.Min(earlier.Doublings + 1, MostDoublings);
            _failures.Remove(earlier);
        }

        _failures.Add(new Failure(from, to, [.. speeds], _step + ((long)RetryAfterSteps << doublings), doublings));
    }

    private bool HasFailed(ReadOnlySpan<int> from, ReadOnlySpan<int> to)
    {
        if (FindFailure(from, to) is not { } failure || _step >= failure.RetryAt)
            return false;
        for (int rank = 0; rank < _speeds.Length; rank++)
        {
            if (!IsSame(_speeds[rank].Round, failure.Speeds[rank].Round))
                return false;
        }

        return true;
    }

    private Failure? FindFailure(ReadOnlySpan<int> from, ReadOnlySpan<int> to)
    {
        foreach (Failure failure in _failures)
        {
            if (from.SequenceEqual(failure.From.AsSpan()) && to.SequenceEqual(failure.To.AsSpan()))
                return failure;
        }

        return null;
    }

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

    /// <summary>Fills in everybody's speed, the unknown as the middle of the known; false if none is known.</summary>
    private bool LookAtSpeeds(ImmutableArray<Member> members)
    {
        int known = 0;
        double latency = double.MaxValue;
        for (int rank = 0; rank < members.Length; rank++)
        {
            // Without threads: not known.
            _speeds[rank] = _meter.Find(members[rank].Id) ?? default;
            if (_speeds[rank].Threads == 0)
                continue;
            _rounds[known++] = _speeds[rank].Round;
            latency = Math.Min(latency, _speeds[rank].Latency);
        }

        if (known == 0)
            return false;
        _rounds.AsSpan(0, known).Sort();
        double usual = _rounds[(known - 1) / 2];
        for (int rank = 0; rank < members.Length; rank++)
        {
            if (_speeds[rank].Threads == 0)
                _speeds[rank] = new WorkerSpeed(members[rank].Threads, usual, latency);
        }

        return true;
    }

    private static bool IsSame(double a, double b) => a < b * SameSpeed && b < a * SameSpeed;

    /// <summary>Seconds until the last of all answers is back.</summary>
    private double Predict(ReadOnlySpan<int> shares)
    {
        double last = 0;
        for (int rank = 0; rank < shares.Length; rank++)
            last = Math.Max(last, _speeds[rank].Predict(shares[rank]));
        return last;
    }

    /// <param name="From">The shares before.</param>
    /// <param name="Speeds">As measured under them.</param>
    /// <param name="Seconds">A step's under them.</param>
    /// <param name="IsOfFewer">Whether it is about fewer workers on the same cores, of which speeds measured before say nothing.</param>
    private sealed record Trial(ImmutableArray<int> From, WorkerSpeed[] Speeds, double Seconds, bool IsOfFewer);

    /// <param name="Speeds">As measured before the move that brought nothing.</param>
    /// <param name="RetryAt">The step from which on it may be tried again though nothing has changed.</param>
    private sealed record Failure(ImmutableArray<int> From, ImmutableArray<int> To, WorkerSpeed[] Speeds, long RetryAt, int Doublings);
}
