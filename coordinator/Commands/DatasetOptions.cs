using System.CommandLine;
using Distributed.Data;
using Distributed.Data.Fetching;

namespace Distributed.Coordinator.Commands;

/// <summary>--dataset and --data-dir, as every command that reads data takes them.</summary>
internal sealed class DatasetOptions
{
    /// <param name="defaultText">What --help says is used without --dataset.</param>
    public DatasetOptions(string defaultText) =>
        Dataset = new Option<string?>("--dataset")
        {
            Description = $"mnist, fashion-mnist, or a directory of IDX files named as MNIST's ({defaultText})",
            HelpName = "mnist|fashion-mnist|DIR",
        };

    /// <summary>Null where the user did not say.</summary>
    public Option<string?> Dataset { get; }

    public Option<string?> DataDirectory { get; } = new("--data-dir")
    {
        Description = $"where the files of mnist or fashion-mnist are, plain or gzipped (default: the user's cache, filled from the network; its place: {DatasetSource.CacheVariable})",
        HelpName = "DIR",
    };

    public void AddTo(Command command)
    {
        command.Options.Add(Dataset);
        command.Options.Add(DataDirectory);
    }

    /// <summary>Loads what the user asked for, showing the download on stderr.</summary>
    /// <param name="fallback">The data set if --dataset was not given.</param>
    public Task<LocatedDataset> LoadAsync(ParseResult parsed, string fallback, CancellationToken cancellation) =>
        DatasetLoading.LoadAsync(
            new DatasetSource(new DatasetSourceOptions()),
            parsed.GetValue(Dataset) ?? fallback,
            parsed.GetValue(DataDirectory),
            parsed.InvocationConfiguration.Error,
            cancellation);
}
