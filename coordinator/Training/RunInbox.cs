using System.Collections.Concurrent;
using Distributed.Exchange;

namespace Distributed.Coordinator.Training;

/// <summary>A place where events turn up by themselves, for the step loop to look into when its bell has rung.</summary>
internal interface IEventSource
{
    /// <summary>Nothing comes from here any more.</summary>
    bool IsEnded { get; }

    bool TryTake(out RunEvent? happened);

    /// <summary>The event taken last has been handled.</summary>
    void EndLast();
}

/// <summary>Where everything that happens waits for the step loop, its only reader.</summary>
/// <param name="bell">Rung for everything that comes, here and into the sources.</param>
internal sealed class RunInbox(Bell bell)
{
    // A ring is never lost but with the process that was to ring: this makes up for that.
    private static readonly TimeSpan LongestSleep = TimeSpan.FromSeconds(1);

    private readonly ConcurrentQueue<RunEvent> _events = new();
    private readonly List<IEventSource> _sources = [];
    private RunEvent? _inHand;
    private IEventSource? _inHandFrom;

    public RunInbox()
        : this(new ProcessBell())
    {
    }

    /// <summary>Events that wait, beside those in the sources.</summary>
    public int Count => _events.Count;

    public void Post(RunEvent happened)
    {
        _events.Enqueue(happened);
        bell.Ring();
    }

    /// <summary>Has <see cref="Take"/> look whether it has been cancelled.</summary>
    public void Wake() => bell.Ring();

    /// <summary>From now on events come from here, too. The reader's.</summary>
    public void Attach(IEventSource source) => _sources.Add(source);

    /// <summary>Waits for the next event; with it the one before counts as handled.</summary>
    /// <param name="cancellation">Looked at whenever there is nothing; see <see cref="Wake"/>.</param>
    public RunEvent Take(CancellationToken cancellation)
    {
        while (true)
        {
            int seen = bell.Look();
            if (TryTake(out RunEvent? happened))
                return happened!;
            cancellation.ThrowIfCancellationRequested();
            bell.WaitPast(seen, LongestSleep);
        }
    }

    public bool TryTake(out RunEvent? happened)
    {
        EndLast();
        happened = null;
        // First: a worker's goodbye must not overtake its last partials.
        for (int i = _sources.Count - 1; i >= 0; i--)
        {
            if (_sources[i].IsEnded)
            {
                _sources.RemoveAt(i);
            }
            else if (_sources[i].TryTake(out happened))
            {
                _inHand = happened;
                _inHandFrom = _sources[i];
                return true;
            }
        }

        if (!_events.TryDequeue(out happened))
            return false;
        _inHand = happened;
        return true;
    }

    private void EndLast()
    {
        _inHand?.Lent?.Dispose();
        _inHand?.Credit?.Release();
        _inHandFrom?.EndLast();
        _inHand = null;
        _inHandFrom = null;
    }
}
