namespace Distributed.Tests.Cluster.Compose;

/// <summary>MNIST in the user's cache, fetched by the product itself if it is not there yet.</summary>
internal static class MnistFiles
{
    public static async Task<string> DirectoryAsync()
    {
        await using ProgramRun data = ProgramRun.Coordinator("data");
        await data.SucceedAsync();
        const string prefix = "in ";
        string line = data.Output.Split('\n').First(static line => line.StartsWith(prefix, StringComparison.Ordinal));
        return line[prefix.Length..];
    }
}
