using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Terminal;

/// <summary>For pipes, logs and CI: one line an epoch, no control codes.</summary>
internal sealed class PlainDisplay(TextWriter output) : IRunObserver
{
    public void EpochStarted(int epoch, int epochs, RunProgress progress)
    {
    }

    public void EpochEnded(EpochReport report)
    {
        output.WriteLine(KerasLine.Format(report));
        output.Flush();
    }
}
