using System.Diagnostics;
using Distributed.Engine;

namespace Distributed.Worker.Compute;

/// <summary>What one compute thread has to itself.</summary>
internal sealed class ComputeThread(int index, Executor executor)
{
    /// <summary>From 0, the caller's.</summary>
    public int Index { get; } = index;

    public Executor Executor { get; } = executor;

    /// <summary>The microbatches that it computes at once.</summary>
    public Wave Wave { get; } = new(executor.Network.WaveMicrobatches);

    /// <summary>One class a sample of the wave.</summary>
    public byte[] Labels { get; } = new byte[executor.Network.WaveSamples];

    /// <summary>Each sample's number in the training set.</summary>
    public int[] SampleNumbers { get; } = new int[executor.Network.WaveSamples];

    /// <summary>How it adds what it has computed, with threads that are done; null: there are no others.</summary>
    public JointAddition? Addition { get; init; }

    /// <summary>How the sums of its wave go up the reduction tree.</summary>
    public IReadOnlyList<INodeReduction> Reductions { get; set; } = [];
}

/// <summary>
/// T threads that run one job together: the caller and T - 1 of its own, which spin for a moment in between and then sleep: a
/// sleeper takes longer to wake than a part of a step does. Not the thread pool, whose threads the exchange needs and which would hand
/// the work to a different core each time.
/// </summary>
internal sealed class ComputePool : IDisposable
{
    /// <summary>Pauses between two looks at the clock.</summary>
    private const int SpinIterations = 8;

    // Of the order of what waking takes, and well below what an exchange does.
    private static readonly long _spinTicks = Environment.ProcessorCount > 1 ? Stopwatch.Frequency * 50 / 1_000_000 : 0;

    private readonly ComputeThread[] _threads;
    private readonly Thread[] _helpers;
    private readonly object _gate = new();
    private Action<ComputeThread>? _job;
    private Func<ComputeThread, bool>? _meanwhile;
    private volatile int _generation;
    private volatile int _running;
    private Exception? _failure;
    private volatile bool _isDisposed;

    /// <param name="network">
    /// Compiled for the microbatch. The first thread uses it, the others copies of it: to pack those weights that are packed takes a thread
    /// about as long as to read what another core has packed, and much less where cores share no cache.
    /// </param>
    /// <param name="threads">T, at least 1.</param>
    public ComputePool(Network network, int threads)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(threads, 1);
        _threads = new ComputeThread[threads];
        for (int i = 0; i < threads; i++)
        {
            _threads[i] = new ComputeThread(i, (i == 0 ? network : network.Copy()).CreateExecutor())
            {
                Addition = threads == 1 ? null : new JointAddition(threads, isFromFront: 2 * i < threads),
            };
        }

        _helpers = new Thread[threads - 1];
        for (int i = 0; i < _helpers.Length; i++)
        {
            ComputeThread thread = _threads[i + 1];
            _helpers[i] = new Thread(() => Help(thread)) { IsBackground = true, Name = $"compute {i + 1}" };
            _helpers[i].Start();
        }
    }

    public int Threads => _threads.Length;

    /// <summary>What each thread has. Not to be changed while a job runs.</summary>
    public IReadOnlyList<ComputeThread> Members => _threads;

    /// <summary>Runs the job once on every thread, this one included, and returns when all are done.</summary>
    /// <param name="job">Divides the work by itself; kept by the caller, so that nothing is allocated.</param>
    /// <param name="meanwhile">
    /// What a thread that is done tries as long as it waits awake, for a moment after the last one is done as well; returns whether it
    /// found anything to do. It must not throw.
    /// </param>
    public void Run(Action<ComputeThread> job, Func<ComputeThread, bool>? meanwhile = null)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_isDisposed, this);
            _job = job;
            _meanwhile = meanwhile;
            _running = _helpers.Length;
            _failure = null;
            _generation++;
            Monitor.PulseAll(_gate);
        }

        try
        {
            job(_threads[0]);
        }
        finally
        {
            for (long start = Stopwatch.GetTimestamp(); _running > 0 && Stopwatch.GetTimestamp() - start < _spinTicks;)
            {
                if (meanwhile?.Invoke(_threads[0]) == true)
                    start = Stopwatch.GetTimestamp();
                else
                    Thread.SpinWait(SpinIterations);
            }

            lock (_gate)
            {
                while (_running > 0)
                    Monitor.Wait(_gate);
            }
        }

        if (_failure is { } failure)
            throw new InvalidOperationException($"a compute thread failed: {failure.Message}", failure);
    }

    public void Dispose()
    {
        lock (_gate)
        {
            if (_isDisposed)
                return;
            _isDisposed = true;
            Monitor.PulseAll(_gate);
        }

        foreach (Thread helper in _helpers)
            helper.Join();
        foreach (ComputeThread thread in _threads)
        {
            thread.Executor.Dispose();
            if (thread.Index > 0)
                thread.Executor.Network.Dispose();
        }
    }

    private void Help(ComputeThread thread)
    {
        int done = 0;
        Func<ComputeThread, bool>? meanwhile = null;
        while (true)
        {
            Action<ComputeThread> job;
            for (long start = Stopwatch.GetTimestamp(); _generation == done && !_isDisposed && Stopwatch.GetTimestamp() - start < _spinTicks;)
            {
                if (meanwhile?.Invoke(thread) == true)
                    start = Stopwatch.GetTimestamp();
                else
                    Thread.SpinWait(SpinIterations);
            }

            lock (_gate)
            {
                while (_generation == done && !_isDisposed)
                    Monitor.Wait(_gate);
                if (_isDisposed)
                    return;
                done = _generation;
                job = _job!;
                meanwhile = _meanwhile;
            }

            Exception? failure = null;
            try
            {
                job(thread);
            }
            catch (Exception exception)
            {
                failure = exception;
            }

            lock (_gate)
            {
                _failure ??= failure;
                if (--_running == 0)
                    Monitor.PulseAll(_gate);
            }
        }
    }
}
