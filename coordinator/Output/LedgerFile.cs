using System.Globalization;
using Distributed.Reduction;

namespace Distributed.Coordinator.Output;

/// <summary>
/// Who computed what, a line a step: epoch and step (from 1), samples, milliseconds, and for each partial that was added
/// SHARDS=WORKER, with the shards as FIRST-LAST. It is added to, so that it tells of a resumed run's whole life: of a step
/// that was made twice, since the coordinator died before its checkpoint, the later line counts.
/// </summary>
internal sealed class LedgerFile : IDisposable
{
    private readonly StreamWriter _file;
    private readonly ReductionTree _tree;
    private readonly List<string> _partials = [];

    /// <exception cref="ConfigurationException">The file cannot be written.</exception>
    public LedgerFile(string path, ReductionTree tree)
    {
        _tree = tree;
        try
        {
            // Each line is written at once: a ledger is for runs that are killed.
            _file = new StreamWriter(path, append: true) { AutoFlush = true };
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new ConfigurationException($"--ledger {path} cannot be written: {exception.Message}", exception);
        }
    }

    public void Note(TreeNode node, string worker)
    {
        (int first, int end) = _tree.Range(node);
        _partials.Add($"{first}-{end - 1}={worker}");
    }

    /// <param name="epoch">From 1.</param>
    /// <param name="step">Within the epoch, from 1.</param>
    public void EndStep(int epoch, int step, int samples, TimeSpan elapsed)
    {
        _file.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"{epoch} {step} {samples} {elapsed.TotalMilliseconds:0.000} {string.Join(' ', _partials)}"));
        _partials.Clear();
    }

    public void Dispose() => _file.Dispose();
}
