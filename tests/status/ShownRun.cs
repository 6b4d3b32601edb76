using Distributed.Coordinator.Members;
using Distributed.Coordinator.Status;
using Distributed.Coordinator.Training;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Tests.Status;

/// <summary>
/// One at a time: OpenTelemetry knows meters by their names, so that two runs in a process, which no coordinator has, would
/// see each other's metrics.
/// </summary>
[CollectionDefinition(nameof(ShownRun))]
public sealed class ShownRuns;

/// <summary>A status endpoint in this process, over a run that the test makes up. For tests of the collection of that name.</summary>
internal sealed class ShownRun : IAsyncDisposable
{
    private readonly TinyRun _tiny = new(train: 100, test: 45);
    private readonly RunStatus _status;
    private readonly StringWriter _notices = new();
    private bool _hasEnded;

    private ShownRun(StatusOptions options)
    {
        Options = new RunOptions { BatchSize = 32, Epochs = 2, Status = options with { Address = options.Address ?? "127.0.0.1:0" } };
        _status = new RunStatus(Options, _notices);
    }

    public RunOptions Options { get; }

    public RunMonitor Monitor => _status.Monitor;

    public Uri Address { get; private set; } = null!;

    public HttpClient Client { get; private set; } = null!;

    public static async Task<ShownRun> StartAsync(StatusOptions? options = null)
    {
        ShownRun run = new(options ?? new StatusOptions());
        await run._status.OpenAsync(run._tiny.Dataset.Source, TestContext.Current.CancellationToken);
        run.Address = run._status.Address!;
        run.Client = new HttpClient { BaseAddress = run.Address };
        return run;
    }

    /// <summary>The data is there, two workers have joined, and one epoch of four steps has been made and scored.</summary>
    public void Train()
    {
        MakeSteps();
        Score();
    }

    /// <summary>As <see cref="Train"/>, but the test set is still being scored.</summary>
    public void MakeSteps()
    {
        Monitor.Run = new RunDefinition(Options, _tiny.Dataset, _tiny.Model);
        Monitor.Begin([], new Phases());
        Membership membership = Membership.Create(8);
        foreach (int id in new[] { 1, 2 })
        {
            FakeLink link = new(new Member(id, $"worker-{id}", 1, "AVX2", "nowhere"));
            membership = membership.Join(link.Member);
            Monitor.Join(link, membership);
            Monitor.Journal.Record(JournalKind.Joined, link.Member.Name, "from nowhere");
        }

        Monitor.Change(membership.Deal([4, 4]));
        Monitor.Enter(RunState.Training);
        Monitor.Publish(new RunSnapshot(1, 0, 4, 0, 0, 0));
        StepClock clock = new(TimeProvider.System);
        Partial sum = new(1) { LossSum = 32 * 0.5, Correct = 24, Samples = 32 };
        for (int step = 1; step <= 4; step++)
        {
            clock.StartStep();
            foreach (Member member in membership.Members)
            {
                clock.NoteOrder(member, 4);
                clock.NoteAnswer(member.Id, TimeSpan.FromMicroseconds(1));
                Monitor.AddAnswer(member.Id, 16);
            }

            clock.EndExchange(Monitor.Phases);
            clock.EndUpdate(Monitor.Phases);
            Monitor.AddStep(step, sum.Totals, clock);
        }

        Monitor.Publish(new RunSnapshot(1, 4, 4, 0.5, 0.75, 1000));
        Monitor.Enter(RunState.Evaluating);
    }

    /// <summary>The epoch's result is there.</summary>
    public void Score()
    {
        EvaluationResult test = new(0.25, 40, [.. _tiny.Dataset.Test.Labels.Select(static (label, i) => i % 9 == 0 ? (byte)((label + 1) % 4) : label)]);
        Monitor.AddEpoch(new EpochReport(1, 4, 4, 128, 0.1, 1000, 0.5, 0.75, test.Loss, test.Accuracy, new string('a', 64)), test, TimeSpan.FromMilliseconds(10));
    }

    /// <summary>Ends the run as the coordinator does.</summary>
    public async Task EndAsync()
    {
        Monitor.End(RunState.Completed);
        await _status.DisposeAsync();
        _hasEnded = true;
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (!_hasEnded)
            await _status.DisposeAsync();
        await _notices.DisposeAsync();
        _tiny.Dispose();
    }
}
