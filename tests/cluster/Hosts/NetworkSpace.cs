using System.ComponentModel;
using System.Diagnostics;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>A network namespace: programs in it see no network but its own. Needs root. Gone when it is disposed.</summary>
internal sealed class NetworkSpace : IDisposable
{
    /// <param name="name">Unique on this machine.</param>
    /// <exception cref="InvalidOperationException">The system lacks what is needed, or this is not root.</exception>
    public NetworkSpace(string name)
    {
        Name = name;
        Run("ip", "netns", "add", name);
    }

    public string Name { get; }

    /// <summary>What the maker makes; where this system has no namespaces the test is skipped.</summary>
    public static T CreateOrSkip<T>(Func<T> make)
    {
        try
        {
            return make();
        }
        catch (Exception exception) when (exception is InvalidOperationException or Win32Exception or PlatformNotSupportedException or DllNotFoundException)
        {
            Assert.Skip($"needs root and network namespaces: {exception.Message}");
            throw;
        }
    }

    /// <summary>Starts a program in it.</summary>
    public ProgramRun Start(string file, params IEnumerable<string> arguments) => ProgramRun.Start("/usr/bin/env", ["ip", "netns", "exec", Name, file, .. arguments]);

    /// <summary>Runs iproute2's ip in it; what it prints.</summary>
    public string Ip(params string[] arguments) => Run("ip", ["-n", Name, .. arguments]);

    /// <summary>Runs iproute2's tc in it.</summary>
    public void Tc(params string[] arguments) => Run("tc", ["-n", Name, .. arguments]);

    public void Dispose() => Run("ip", "netns", "delete", Name);

    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })
            ?? throw new InvalidOperationException($"cannot start {program}");
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)}: {errors.Result.Trim()}");
    }
}
