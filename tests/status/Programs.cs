namespace Distributed.Tests.Status;

/// <summary>Programs that a machine may or may not have.</summary>
internal static class Programs
{
    /// <summary>Full path of the first that is on PATH; null if none is.</summary>
    public static string? Find(params IEnumerable<string> names) => names
        .SelectMany(static name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(directory => Path.Combine(directory, name)))
        .FirstOrDefault(File.Exists);
}
