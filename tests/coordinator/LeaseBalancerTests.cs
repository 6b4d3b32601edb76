using System.Runtime.InteropServices;
using System.Collections.Immutable;
using CsCheck;
using Distributed.Coordinator.Members;

namespace Distributed.Tests;

/// <summary>Whole clusters without a clock: workers take what they take, and the balancer sees it as the coordinator does.</summary>
public sealed class LeaseBalancerTests
{
    private const int Steps = 100;

    /// <summary>Shards; each worker's threads; seconds a microbatch; the worker slowed to a third.</summary>
    public static TheoryData<int, int[], double, int> Clusters { get; } = new()
    {
        { 8, [1, 1], 2e-3, 0 },
        { 8, [1, 1], 2e-3, 1 },
        { 8, [1, 1, 1], 2e-3, 1 },
        { 8, [2, 2], 0.5e-3, 0 },
        { 16, [1, 1, 1, 1], 2e-3, 3 },
        { 64, [1, 1, 1, 1, 1, 1, 1, 1], 1e-3, 2 },
        { 64, [4, 4, 4], 20e-3, 0 },
        { 12, [1, 2, 4], 5e-3, 2 },
    };

    [Theory]
    [MemberData(nameof(Clusters))]
    public void Cluster_WithAWorkerSlowedToAThird_ComesNearTheIdealSplitWithinAHundredSteps(int shards, int[] threads, double seconds, int slow)
    {
        Cluster cluster = new(shards, [.. threads.Select(count => new WorkerSpeed(count, seconds, 0.3e-3))], noise: 0.1);
        cluster.Run(Math.Max(300, (int)(2 / cluster.StepSeconds())));
        ImmutableArray<int> before = cluster.Shares;
        cluster.Speeds[slow] = cluster.Speeds[slow] with { Round = seconds * 3 };
        double unbalanced = cluster.StepSeconds();
        cluster.Run(Steps);
        double ideal = cluster.IdealSeconds();
        Assert.True(cluster.StepSeconds() <= ideal * 1.25, $"{cluster.StepSeconds()} s, ideally {ideal} s: {string.Join(',', cluster.Shares)}");
        Assert.True(cluster.StepSeconds() < unbalanced);

        // And back, once it is as fast as the others again.
        cluster.Speeds[slow] = cluster.Speeds[slow] with { Round = seconds };
        cluster.Run(Steps + (int)(1 / cluster.StepSeconds()));
        Assert.True(cluster.StepSeconds() <= cluster.IdealSeconds() * 1.25, $"after recovery: {string.Join(',', cluster.Shares)}, before {string.Join(',', before)}");
    }

    [Fact]
    public void Cluster_OfEqualWorkers_KeepsItsLeasesWhateverTheNoise() =>
        Gen.Select(Gen.Int[2, 6], Gen.Int[0, 10_000]).Sample((workers, seed) =>
        {
            Cluster cluster = new(8, [.. Enumerable.Repeat(new WorkerSpeed(1, 1e-3, 0.2e-3), workers)], noise: 0.1, seed);
            cluster.Run(2000);
            return cluster.Changes == 0;
        }, iter: 20);

    [Fact]
    public void Cluster_WithOneHiccupNowAndThen_KeepsItsLeases()
    {
        Cluster cluster = new(8, [.. Enumerable.Repeat(new WorkerSpeed(1, 2e-3, 0.2e-3), 3)], noise: 0.05);
        cluster.Disturb = (step, _, seconds) => step % 6 == 0 ? seconds * 20 : seconds;
        cluster.Run(2000);
        Assert.Equal(0, cluster.Changes);
    }

    [Fact]
    public void Cluster_WhoseWorkersTakeTimeFromEachOther_GoesBackAndDoesNotTryAgainSoon()
    {
        // What one worker is relieved of the other pays double: the measured speeds promise a gain that never comes.
        Cluster cluster = new(8, [new WorkerSpeed(1, 1e-3, 0), new WorkerSpeed(1, 1.6e-3, 0)], noise: 0.02);
        cluster.Disturb = (_, worker, seconds) => worker == 0 && cluster.Shares[0] > 4 ? seconds * 2 : seconds;
        cluster.Run(3000);
        Assert.Equal([4, 4], cluster.Shares);
        Assert.InRange(cluster.Changes, 2, 8);
    }

    [Fact]
    public void Cluster_WhoseSituationChangesAfterAFailedMove_TriesAtOnce()
    {
        Cluster cluster = new(8, [new WorkerSpeed(1, 1e-3, 0), new WorkerSpeed(1, 1.6e-3, 0)], noise: 0.02);
        cluster.Disturb = (_, worker, seconds) => worker == 0 && cluster.Shares[0] > 4 ? seconds * 2 : seconds;
        cluster.Run(1000);
        cluster.Disturb = static (_, _, seconds) => seconds;
        cluster.Speeds[1] = cluster.Speeds[1] with { Round = 4e-3 };
        cluster.Run(Steps);
        Assert.True(cluster.StepSeconds() <= cluster.IdealSeconds() * 1.25, string.Join(',', cluster.Shares));
    }

    [Fact]
    public void Worker_SoSlowThatItOnlyHinders_GetsNothingAndIsTriedAgainRarely()
    {
        Cluster cluster = new(8, [new WorkerSpeed(1, 1e-3, 0), new WorkerSpeed(1, 50e-3, 0)], noise: 0.05);
        cluster.Run(500);
        Assert.Equal([8, 0], cluster.Shares);
        int changes = cluster.Changes;
        cluster.Run(10_000);
        Assert.InRange(cluster.Changes - changes, 1, 20);
        cluster.Speeds[1] = new WorkerSpeed(1, 1e-3, 0);
        cluster.Run(20_000);
        Assert.Equal([4, 4], cluster.Shares);
    }

    /// <summary>As under a container's limit of half a processor: 50 ms in each 100 at full speed, and then a standstill.</summary>
    [Theory]
    [InlineData(0.4e-3)]
    [InlineData(1e-3)]
    [InlineData(5e-3)]
    public void Worker_WithHalfAProcessor_GetsFewerShards(double seconds)
    {
        Cluster cluster = new(8, [new WorkerSpeed(1, seconds, 0.2e-3), new WorkerSpeed(1, seconds, 0.2e-3)], noise: 0.02);
        double period = double.NaN, used = 0;
        cluster.Disturb = (_, worker, compute) => worker == 1 ? Throttle(compute) : compute;
        cluster.Run(Math.Max(1000, (int)(10 / cluster.StepSeconds())));
        double start = cluster.Now;
        cluster.Run(500);
        Assert.InRange(cluster.Shares[1], 2, 3);
        // Ideally the one does two thirds of the work while the other does the rest, at half the speed.
        Assert.InRange((cluster.Now - start) / 500, 0, ((8 * seconds * 2 / 3) + 0.2e-3) * 1.25);

        double Throttle(double compute)
        {
            double now = cluster.Now;
            while (compute > 0)
            {
                double current = Math.Floor((now / 0.1) + 1e-9) * 0.1;
                if (current != period)
                    (period, used) = (current, 0);
                double run = Math.Min(compute, Math.Min(0.05 - used, current + 0.1 - now));
                (compute, used, now) = (compute - run, used + run, now + run);
                if (compute > 0)
                    now = current + 0.1;
            }

            return now - cluster.Now;
        }
    }

    [Theory]
    [InlineData(4, 1, 2, new[] { 4, 4, 0, 0 })]
    [InlineData(8, 1, 2, new[] { 4, 4, 0, 0, 0, 0, 0, 0 })]
    [InlineData(2, 2, 2, new[] { 8, 0 })]
    [InlineData(3, 2, 4, new[] { 4, 4, 0 })]
    public void Workers_WithMoreThreadsThanCores_LeaveTheWorkToAsManyAsThereAreCoresFor(int workers, int threads, int cores, int[] expected)
    {
        Cluster cluster = CreateCrowd(workers, threads, cores, believed: cores);
        double before = cluster.Pace(500);
        cluster.Run(4000);
        Assert.Equal(expected, cluster.Shares);
        Assert.Equal(1, cluster.Changes);
        // It was not by accident.
        cluster.Run(20_000);
        Assert.Equal(expected, cluster.Shares);
        Assert.InRange(cluster.Changes, 1, 6);
        Assert.True(cluster.Pace(100) < before);
    }

    [Fact]
    public void Workers_WithMoreCoresThanBelieved_AllKeepTheirWorkAndAreDisturbedRarely()
    {
        Cluster cluster = CreateCrowd(workers: 4, threads: 1, cores: 4, believed: 2);
        cluster.Run(20_000);
        Assert.Equal([2, 2, 2, 2], cluster.Shares);
        Assert.InRange(cluster.Changes, 2, 16);
    }

    [Fact]
    public void Workers_OfWhomFewerOnlySeemedBetter_AllGetWorkAgain()
    {
        Cluster cluster = CreateCrowd(workers: 4, threads: 1, cores: 4, believed: 2);
        Func<int, int, double, double> undisturbed = cluster.Disturb;
        // As long as all of them work, something else has the cores.
        cluster.Disturb = (step, worker, compute) => undisturbed(step, worker, compute) * (cluster.Shares.Contains(0) ? 1 : 4);
        cluster.Run(3000);
        Assert.Equal([4, 4, 0, 0], cluster.Shares);
        cluster.Disturb = undisturbed;
        cluster.Run(20_000);
        Assert.Equal([2, 2, 2, 2], cluster.Shares);
    }

    [Fact]
    public void WorkerOfFew_ThatBecomesSlow_IsRelievedByOneThatHadNothing()
    {
        Cluster cluster = CreateCrowd(workers: 4, threads: 1, cores: 2, believed: 2, slow: 1);
        cluster.Run(3000);
        Assert.Equal([4, 4, 0, 0], cluster.Shares);
        cluster.Speeds[1] = cluster.Speeds[1] with { Round = 20e-3 };
        cluster.Run(1000);
        Assert.Equal(0, cluster.Shares[1]);
        Assert.Equal(2, cluster.Shares.Count(static share => share > 0));
    }

    [Theory]
    [InlineData(new[] { 2, 2, 2, 2 }, 1, 2, new[] { 4, 4, 0, 0 })]
    [InlineData(new[] { 3, 3, 2, 0 }, 1, 2, new[] { 4, 4, 0, 0 })]
    [InlineData(new[] { 0, 3, 3, 2 }, 1, 2, new[] { 0, 4, 4, 0 })]
    [InlineData(new[] { 2, 2, 2, 2 }, 3, 2, new[] { 8, 0, 0, 0 })]
    [InlineData(new[] { 2, 2, 2, 2 }, 2, 7, new[] { 4, 2, 2, 0 })]
    [InlineData(new[] { 2, 2, 2, 2 }, 1, 4, null)]
    [InlineData(new[] { 4, 4, 0, 0 }, 1, 2, null)]
    [InlineData(new[] { 8, 0, 0, 0 }, 3, 2, null)]
    public void Shares_AmongFewer_AreEvenAndFitTheCores(int[] shares, int threads, int cores, int[]? expected)
    {
        ImmutableArray<Member> members = [.. Enumerable.Range(1, shares.Length).Select(id => new Member(id, "", threads, "", "") { IsNear = true })];
        int[] fewer = new int[shares.Length];
        Assert.Equal(expected is not null, LeasePlanner.ShareAmongFewer(members, [.. shares], cores, fewer));
        Assert.Equal(expected ?? shares, fewer);
    }

    [Fact]
    public void Shares_AmongFewer_LeaveWorkersElsewhereAlone()
    {
        ImmutableArray<Member> members = [.. Enumerable.Range(1, 4).Select(static id => new Member(id, "", 1, "", "") { IsNear = id > 1 })];
        int[] fewer = new int[4];
        Assert.True(LeasePlanner.ShareAmongFewer(members, [5, 1, 1, 1], cores: 2, fewer));
        Assert.Equal([5, 2, 1, 0], fewer);
    }

    /// <summary>Workers elsewhere need none of the cores here, also where a worker here has more threads than there are.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void Shares_BySpeed_LeaveWorkersElsewhereTheirsWhateverIsNear(int threads)
    {
        ImmutableArray<Member> members = [new(1, "", threads, "", "") { IsNear = true }, new(2, "", 4, "", "")];
        int[] shares = new int[2];
        LeasePlanner.ShareBySpeed(16, [new WorkerSpeed(4, 1e-3, 0), new WorkerSpeed(4, 1e-3, 0)], shares, members, cores: 2);
        Assert.Equal([8, 8], shares);
    }

    /// <summary>As from a coordinator that is limited to one core: fewer near workers were never found to be better.</summary>
    [Fact]
    public void NearWorker_ThatHadNothingBecauseItWasSlow_IsUsedAgainWhenItIsFastWhereCoresAreMoreThanBelieved()
    {
        Cluster cluster = new(8, [new WorkerSpeed(1, 1e-3, 0), new WorkerSpeed(1, 1e-3, 0)], noise: 0.05, cores: 1, areNear: true);
        cluster.Run(500);
        Assert.Equal([4, 4], cluster.Shares);
        cluster.Speeds[1] = new WorkerSpeed(1, 50e-3, 0);
        cluster.Run(300);
        Assert.Equal([8, 0], cluster.Shares);
        cluster.Speeds[1] = new WorkerSpeed(1, 1e-3, 0);
        cluster.Run(30_000);
        Assert.Equal([4, 4], cluster.Shares);
    }

    /// <summary>Workers on one host: those at work divide its cores, and each of them costs 0.15 ms a step whatever it has.</summary>
    /// <param name="believed">Cores that the balancer takes it to have.</param>
    /// <param name="slow">A worker that is as slow as its speed says and takes no core from the others; none if negative.</param>
    private static Cluster CreateCrowd(int workers, int threads, int cores, int believed, int slow = -1)
    {
        const double fixedCost = 0.15e-3;
        Cluster cluster = new(
            8, [.. Enumerable.Repeat(new WorkerSpeed(threads, 0.2e-3, 0.05e-3), workers)], noise: 0.05, cores: believed, areNear: true);
        cluster.Disturb = (_, worker, compute) =>
        {
            double load = (double)cluster.Shares.Count(static share => share > 0) * threads / cores;
            return worker == slow && compute > 10e-3 ? compute : (compute + fixedCost) * Math.Max(1, load);
        };
        return cluster;
    }

    [Fact]
    public void Cluster_InItsFirstSecond_ChangesNothing()
    {
        Cluster cluster = new(8, [new WorkerSpeed(1, 1e-3, 0), new WorkerSpeed(1, 5e-3, 0)], noise: 0);
        cluster.Run((int)(0.9 / cluster.StepSeconds()));
        Assert.Equal(0, cluster.Changes);
    }

    [Theory]
    [InlineData(8, new[] { 1.0, 1.0 }, new[] { 4, 4 })]
    [InlineData(8, new[] { 1.0, 3.0 }, new[] { 6, 2 })]
    [InlineData(8, new[] { 3.0, 1.0 }, new[] { 2, 6 })]
    [InlineData(8, new[] { 1.0, 1.0, 1.0 }, new[] { 3, 3, 2 })]
    [InlineData(8, new[] { 1.0, 1.0, 1.0, 100.0 }, new[] { 3, 3, 2, 0 })]
    [InlineData(2, new[] { 2.0, 1.0, 1.0 }, new[] { 0, 1, 1 })]
    [InlineData(1, new[] { 5.0 }, new[] { 1 })]
    public void Shares_BySpeed_AreProportional(int shards, double[] rounds, int[] expected) =>
        Assert.Equal(expected, Cluster.ShareBySpeed(shards, [.. rounds.Select(static round => new WorkerSpeed(1, round, 0))]));

    /// <summary>No other shares have the last answer back earlier.</summary>
    [Fact]
    public void Shares_BySpeed_AreOptimal() =>
        Gen.Select(Gen.Int[1, 8], Gen.Select(Gen.Int[1, 3], Gen.Double[0.1, 5], Gen.Double[0, 3]).Array[1, 3]).Sample((shards, workers) =>
        {
            WorkerSpeed[] speeds = [.. workers.Select(static worker => new WorkerSpeed(worker.Item1, worker.Item2, worker.Item3))];
            ImmutableArray<int> shares = Cluster.ShareBySpeed(shards, speeds);
            return shares.Sum() == shards && Math.Abs(speeds.Zip(shares).Max(static pair => pair.First.Predict(pair.Second)) - Cluster.Best(speeds, shards)) < 1e-9;
        });

    /// <param name="noise">Each worker's time varies by this part of it.</param>
    private sealed class Cluster
    {
        private readonly LeaseBalancer _balancer;
        private readonly ImmutableArray<Member> _members;
        private readonly Random _random;
        private readonly double _noise;
        private readonly int _shards;

        public Cluster(int shards, WorkerSpeed[] speeds, double noise, int seed = 1, int cores = 1, bool areNear = false)
        {
            (_shards, Speeds, _noise, _random) = (shards, speeds, noise, new Random(seed));
            _members = [.. speeds.Select((speed, rank) => new Member(rank + 1, $"w{rank + 1}", speed.Threads, "", "") { IsNear = areNear })];
            _balancer = new LeaseBalancer(shards, cores);
            Shares = _balancer.Deal(_members);
        }

        public WorkerSpeed[] Speeds { get; }

        /// <summary>Changes a worker's time in a step: step, worker's rank, seconds.</summary>
        public Func<int, int, double, double> Disturb { get; set; } = static (_, _, seconds) => seconds;

        public ImmutableArray<int> Shares { get; private set; }

        public int Changes { get; private set; }

        /// <summary>Seconds since the start.</summary>
        public double Now { get; private set; }

        public void Run(int steps)
        {
            for (int step = 0; step < steps; step++)
            {
                if (_balancer.IsDue && _balancer.Improve(_members, Shares) is { } better)
                {
                    Shares = better;
                    Changes++;
                }

                List<WorkerTiming> timings = [];
                for (int rank = 0; rank < Speeds.Length; rank++)
                {
                    if (Shares[rank] == 0)
                        continue;
                    double compute = WorkerSpeed.Rounds(Shares[rank], Speeds[rank].Threads) * Speeds[rank].Round;
                    compute = Disturb(step, rank, compute) * (1 + (_noise * ((2 * _random.NextDouble()) - 1)));
                    timings.Add(new WorkerTiming(
                        rank + 1, Speeds[rank].Threads, Shares[rank], TimeSpan.FromSeconds(compute), TimeSpan.FromSeconds(compute + Speeds[rank].Latency)));
                }

                TimeSpan exchange = timings.Max(static timing => timing.Answered);
                _balancer.Note(CollectionsMarshal.AsSpan(timings), exchange);
                Now += exchange.TotalSeconds;
            }
        }

        /// <summary>Seconds a step, on average over so many.</summary>
        public double Pace(int steps)
        {
            double start = Now;
            Run(steps);
            return (Now - start) / steps;
        }

        /// <summary>A step's, without noise.</summary>
        public double StepSeconds() => Speeds.Zip(Shares).Max(static pair => pair.First.Predict(pair.Second));

        public double IdealSeconds() => Speeds.Length <= 4 ? Best(Speeds, _shards)
            : Speeds.Zip(ShareBySpeed(_shards, Speeds)).Max(static pair => pair.First.Predict(pair.Second));

        public static ImmutableArray<int> ShareBySpeed(int shards, WorkerSpeed[] speeds)
        {
            int[] shares = new int[speeds.Length];
            LeasePlanner.ShareBySpeed(shards, speeds, shares);
            return [.. shares];
        }

        /// <summary>By trying every split.</summary>
        public static double Best(ReadOnlySpan<WorkerSpeed> speeds, int shards)
        {
            if (speeds.Length == 1)
                return speeds[0].Predict(shards);
            double best = double.MaxValue;
            for (int share = 0; share <= shards; share++)
                best = Math.Min(best, Math.Max(speeds[0].Predict(share), Best(speeds[1..], shards - share)));
            return best;
        }
    }
}
