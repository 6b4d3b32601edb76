using System.Reflection;

namespace Distributed.Tests.Cluster.Compose;

/// <summary>The project's compose folder, as it stands in the repository.</summary>
internal static class ComposeFiles
{
    public static string Directory { get; } = Path.GetFullPath(
        typeof(ComposeFiles).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(static item => item.Key == "ComposeFiles").Value!);

    public static string Cluster => PathOf("docker-compose.yml");

    public static string PathOf(string name) => Path.Combine(Directory, name);
}
