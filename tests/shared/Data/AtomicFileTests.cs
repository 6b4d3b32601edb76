using Distributed.Data;

namespace Distributed.Tests.Data;

public sealed class AtomicFileTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("atomic-file-");

    private string Target => Path.Combine(_directory.FullName, "below", "file");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public void File_Committed_ReplacesTheOldOne()
    {
        AtomicFile.WriteAllBytes(Target, "old"u8);
        AtomicFile.WriteAllBytes(Target, "new"u8);
        Assert.Equal("new", File.ReadAllText(Target));
        Assert.Single(Directory.EnumerateFiles(Path.GetDirectoryName(Target)!));
    }

    [Fact]
    public void File_NotCommitted_LeavesTheOldOneAlone()
    {
        AtomicFile.WriteAllBytes(Target, "old"u8);
        using (AtomicFile file = new(Target))
            file.Write("half"u8);
        Assert.Equal("old", File.ReadAllText(Target));
        Assert.Single(Directory.EnumerateFiles(Path.GetDirectoryName(Target)!));
    }

    [Fact]
    public void File_WhereNoDirectoryCanBe_IsOneLine()
    {
        AtomicFile.WriteAllBytes(Target, "file"u8);
        string path = Path.Combine(Target, "below");
        RunFailedException failure = Assert.Throws<RunFailedException>(() => new AtomicFile(path));
        Assert.StartsWith($"cannot write {path}: ", failure.Message);
        Assert.DoesNotContain('\n', failure.Message);
    }
}
