namespace Distributed.Data.Fetching;

/// <summary>What happens while a data set is fetched, for whoever shows it.</summary>
public abstract record FetchEvent;

/// <summary>Something a person should know: a source that failed, a cached file that is fetched again.</summary>
/// <param name="Text">One line.</param>
public sealed record FetchNotice(string Text) : FetchEvent;

/// <summary>How far the download of one file is. Bytes are those on the wire, usually packed.</summary>
/// <param name="Source">The mirror's host, or "npm".</param>
/// <param name="File">The file's unpacked name.</param>
/// <param name="Received">Bytes so far.</param>
/// <param name="Total">Bytes to come in all, if the source said so.</param>
public sealed record DownloadProgress(string Source, string File, long Received, long? Total) : FetchEvent;
