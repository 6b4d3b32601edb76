using System.Diagnostics;
using CsCheck;
using Distributed.Engine;
using Distributed.Reduction;
using Distributed.Worker.Compute;

namespace Distributed.Tests;

/// <summary>Microbatches, and nodes that were summed in a wave, that come layer by layer, in whatever order threads bring them.</summary>
public sealed class OverlappedReductionTests
{
    /// <summary>However far each microbatch is when another moves on, each chunk has the bits of the tree's, and is delivered once and in order.</summary>
    [Fact]
    public void Microbatches_MovingOnInAnyOrder_GiveTheBitsOfTheTree() =>
        Gen.Select(Gen.Int[1, 20], Gen.Int[1, 90], Gen.Int[1, 40], Gen.Bool, Gen.Int[0, int.MaxValue]).Sample((shards, length, size, isBfloat16, seed) =>
        {
            Random random = new(seed);
            Order order = new(shards, length, size, isBfloat16, random);
            for (int step = 0; step < 3; step++)
            {
                order.Begin(random);
                int threads = random.Next(1, 6);
                List<Action> waiting = [];
                foreach (TreeNode node in order.Pieces(random))
                {
                    if (waiting.Count == threads)
                        MoveOn();
                    waiting.Add(order.Start(node, random));
                    while (waiting.Count == threads && random.Next(3) > 0)
                        MoveOn();
                }

                while (waiting.Count > 0)
                    MoveOn();
                order.Check();

                void MoveOn()
                {
                    int next = random.Next(waiting.Count);
                    waiting[next]();
                    waiting.RemoveAll(static action => ((Walk)action.Target!).IsDone);
                }
            }
        });

    [Fact]
    public void Microbatches_OnManyThreads_GiveTheBitsOfTheTree()
    {
        Random random = new(5);
        for (int round = 0; round < 200; round++)
        {
            Order order = new(shards: 13, length: 700, size: 32, isBfloat16: round % 2 == 0, random);
            order.Begin(random);
            Action[] walks = [.. order.Pieces(random).Select(node => order.Start(node, random))];
            int taken = 0;
            Thread[] threads = [.. Enumerable.Range(0, 4).Select(_ => new Thread(() =>
            {
                for (int next; (next = Interlocked.Increment(ref taken) - 1) < walks.Length;)
                {
                    while (!((Walk)walks[next].Target!).IsDone)
                        walks[next]();
                }
            }))];
            foreach (Thread thread in threads)
                thread.Start();
            foreach (Thread thread in threads)
                thread.Join();
            order.Check();
        }
    }

    /// <summary>
    /// Siblings that become whole at the same moment, while others keep the node from being added by chunks, are added by one of
    /// their threads: the other must not take what it sees no more for not yet there.
    /// </summary>
    [Fact]
    public void Siblings_WholeAtTheSameMoment_AreGivenBackOnce()
    {
        // It takes many rounds for the two threads to meet, and on a busy machine a round can take long.
        const int Rounds = 300_000;
        TimeSpan most = TimeSpan.FromSeconds(5);
        long start = Stopwatch.GetTimestamp();
        Random random = new(7);
        Order order = new(shards: 4, length: 16, size: 16, isBfloat16: false, random);
        Action? left = null;
        int begun = 0, done = 0;
        Thread other = new(() =>
        {
            SpinWait wait = default;
            for (int round = 1; ; round++)
            {
                while (Volatile.Read(ref begun) < round)
                    wait.SpinOnce(sleep1Threshold: -1);
                if (left is null)
                    return;
                left();
                Volatile.Write(ref done, round);
            }
        })
        { IsBackground = true };
        other.Start();
        int wrong = 0;
        int rounds = 0;
        while (rounds < Rounds && Stopwatch.GetElapsedTime(start) < most)
        {
            int round = ++rounds;
            order.Begin(random, active: 4, [new TreeNode(2, 0)]);
            left = order.Start(0, [0]);
            Action right = order.Start(1, [0]);
            Volatile.Write(ref begun, round);
            right();
            SpinWait wait = default;
            while (Volatile.Read(ref done) < round)
                wait.SpinOnce(sleep1Threshold: -1);
            order.Start(2, [0])();
            order.Start(3, [0])();
            wrong += order.IsBalanced ? 0 : 1;
        }

        left = null;
        Volatile.Write(ref begun, rounds + 1);
        other.Join();
        Assert.Equal(0, wrong);
    }

    [Fact]
    public void LastLayers_AreDeliveredWhileTheFirstAreComputed()
    {
        Random random = new(1);
        Order order = new(shards: 2, length: 64, size: 16, isBfloat16: false, random);
        order.Begin(random, active: 2, [new TreeNode(1, 0)]);
        Walk one = (Walk)order.Start(0, [20, 0]).Target!, two = (Walk)order.Start(1, [40, 0]).Target!;
        one.Next();
        Assert.Equal(0, order.ChunksDelivered);
        two.Next();
        Assert.Equal(1, order.ChunksDelivered);
        one.Next();
        Assert.Equal(1, order.ChunksDelivered);
        two.Next();
        order.Check();
    }

    /// <summary>A microbatch, or a node's that one thread computes together, on its way back through the network.</summary>
    private sealed class Walk(INodeReduction node, Partial source, Partial partial, int[] stops)
    {
        private int _next;

        public bool IsDone => _next == stops.Length;

        public void Next()
        {
            int first = stops[_next], end = _next == 0 ? source.Gradient.Length : stops[_next - 1];
            source.Gradient.Values[first..end].CopyTo(partial.Gradient.Values[first..]);
            _next++;
            node.Complete(new MicrobatchResult(source.LossSum, source.Correct), first);
        }
    }

    /// <summary>An order, what is to come of it, and what has.</summary>
    private sealed class Order : IResultSink
    {
        private readonly int _length;
        private readonly ReductionTree _tree;
        private readonly VectorChunks _chunks;
        private readonly WirePrecision _precision;
        private readonly CountingPool _pool;
        private readonly OverlappedReduction _reduction;
        private readonly Lock _lock = new();
        private readonly Dictionary<TreeNode, (float[] Sum, int Chunks, StepTotals Totals)> _delivered = [];
        private readonly Partial[] _leaves;
        private TreeNode[] _nodes = [];
        private int _active;

        public Order(int shards, int length, int size, bool isBfloat16, Random random)
        {
            _length = length;
            _tree = new ReductionTree(shards);
            _chunks = new VectorChunks(length, size);
            _precision = isBfloat16 ? WirePrecision.Bf16 : WirePrecision.Float32;
            _pool = new CountingPool(length);
            _reduction = new OverlappedReduction(_tree, _chunks, _pool, _precision);
            _leaves = [.. Enumerable.Range(0, shards).Select(_ => CreatePartial(length, random))];
        }

        public int ChunksDelivered => _delivered.Values.Sum(static node => node.Chunks);

        /// <summary>Whether all partials that were lent since the last look are back, each once.</summary>
        public bool IsBalanced => _pool.TakeLent() == 0;

        public void Begin(Random random)
        {
            int active = random.Next(1, _leaves.Length + 1);
            HashSet<int> wanted = [.. Enumerable.Range(0, active).Where(_ => random.Next(4) > 0)];
            Begin(random, active, [.. _tree.Cover(wanted)]);
        }

        public void Begin(Random random, int active, TreeNode[] nodes)
        {
            (_active, _nodes) = (active, nodes);
            _delivered.Clear();
            random.Shuffle(_nodes);
            _reduction.Begin(active, _nodes, this);
        }

        /// <summary>The nodes that threads compute: what is wanted, or what makes it, down to microbatches.</summary>
        public IEnumerable<TreeNode> Pieces(Random random)
        {
            TreeNode[] pieces = [.. _nodes.SelectMany(Cut)];
            random.Shuffle(pieces);
            return pieces;

            IEnumerable<TreeNode> Cut(TreeNode node)
            {
                if (node.FirstShard >= _active)
                    return [];
                if (node.Level == 0 || random.Next(3) == 0)
                    return [node];
                (TreeNode left, TreeNode right) = node.Children;
                return [.. Cut(left), .. Cut(right)];
            }
        }

        /// <summary>Called again and again, it moves a node on by a layer each time.</summary>
        public Action Start(TreeNode node, Random random) =>
            Start(node, [.. Enumerable.Range(0, random.Next(4)).Select(_ => random.Next(1, _length + 1)).Append(0).OrderDescending()]);

        public Action Start(int shard, int[] stops) => Start(TreeNode.Leaf(shard), stops);

        private Action Start(TreeNode node, int[] stops)
        {
            Partial partial = _pool.Rent();
            partial.Gradient.Values.Fill(float.NaN);
            (partial.LossSum, partial.Correct, partial.Samples) = (double.NaN, -1, -1);
            Partial source = node.Level == 0 ? _leaves[node.FirstShard] : Sum(node);
            INodeReduction reduction = _reduction.CreateNode();
            reduction.Begin(node, partial, source.Samples);
            return new Walk(reduction, source, partial, stops).Next;
        }

        public void Check()
        {
            Assert.Equal(_nodes.ToHashSet(), [.. _delivered.Keys]);
            foreach ((TreeNode node, (float[] sum, int chunks, StepTotals totals)) in _delivered)
            {
                Partial expected = Sum(node);
                Assert.Equal(_chunks.Count, chunks);
                Assert.Equal(expected.Gradient.Values.ToArray().Select(BitConverter.SingleToInt32Bits), sum.Select(BitConverter.SingleToInt32Bits));
                Assert.Equal(expected.Totals, totals);
            }

            Assert.Equal(0, _pool.Lent);
        }

        public void DeliverChunk(TreeNode node, Partial partial, int chunk)
        {
            lock (_lock)
            {
                if (chunk == 0)
                    _delivered.Add(node, (new float[_length], 0, partial.Totals));
                (float[] sum, int came, StepTotals totals) = _delivered[node];
                Assert.Equal(came, chunk);
                Assert.Equal(totals, partial.Totals);
                (int first, int end) = _chunks[chunk];
                partial.Gradient.Values[first..end].CopyTo(sum.AsSpan(first));
                _delivered[node] = (sum, came + 1, totals);
            }

            if (chunk == _chunks.Count - 1)
                _pool.Return(partial);
        }

        public void DeliverPartial(TreeNode node, Partial partial) => Assert.Fail("a partial came whole");

        public void DeliverBlock(int block, double lossSum, int correct, byte[] predictions) => Assert.Fail("nothing is scored");

        private static Partial CreatePartial(int length, Random random)
        {
            Partial partial = new(length) { LossSum = random.NextDouble(), Correct = random.Next(9), Samples = 8 };
            foreach (ref float value in partial.Gradient.Values)
                value = (float)((random.NextDouble() - 0.5) * Math.Pow(2, random.Next(-20, 20)));
            return partial;
        }

        private Partial Sum(TreeNode target)
        {
            TreeReduction reduction = new(_tree, new PartialPool(_length), _precision);
            reduction.Begin(_active, [target]);
            (int first, int end) = _tree.Range(target);
            Partial? sum = null;
            for (int shard = first; shard < Math.Min(end, _active); shard++)
            {
                Partial leaf = new(_length) { LossSum = _leaves[shard].LossSum, Correct = _leaves[shard].Correct, Samples = _leaves[shard].Samples };
                _leaves[shard].Gradient.Values.CopyTo(leaf.Gradient.Values);
                sum = reduction.Offer(TreeNode.Leaf(shard), leaf, out _) ?? sum;
            }

            return sum!;
        }
    }

    private sealed class CountingPool(int parameters) : PartialPool(parameters)
    {
        private int _lent;

        public int Lent => _lent;

        /// <summary>The count, from here on 0.</summary>
        public int TakeLent() => Interlocked.Exchange(ref _lent, 0);

        public override Partial Rent()
        {
            Interlocked.Increment(ref _lent);
            return base.Rent();
        }

        public override void Return(Partial partial)
        {
            Interlocked.Decrement(ref _lent);
            base.Return(partial);
        }
    }
}
