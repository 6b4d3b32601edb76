using Distributed.Coordinator.Security;
using Distributed.Coordinator.Training;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests.Security;

public sealed class RefusalLogTests
{
    [Fact]
    public void Refusals_ByTheThousand_AreToldOfAFewAMinute()
    {
        ManualTime time = new();
        RunJournal journal = new(time);
        RefusalLog refusals = new(journal, time, NullLogger<RefusalLog>.Instance);
        for (int i = 0; i < 1000; i++)
            refusals.Report("caller", "somewhere", "no");
        Assert.Equal(RefusalLog.MostPerMinute, journal.Count(JournalKind.RefusedWorker));
        time.Advance(TimeSpan.FromMinutes(1));
        refusals.Report("caller", "somewhere", "no");
        Assert.Equal($"no (and {1000 - RefusalLog.MostPerMinute} more that were not told of)", journal.Latest()[^1].Text);
        refusals.Report("caller", "somewhere", "no");
        Assert.Equal("no", journal.Latest()[^1].Text);
    }
}
