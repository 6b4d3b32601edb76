using System.Diagnostics;
using System.Runtime.Intrinsics.X86;

namespace Distributed.Tests.Engine;

/// <summary>
/// The kernels on a processor with 16 registers: what they then do differently is nowhere reached in a process that has AVX-512, whatever
/// the width of the lanes.
/// </summary>
public sealed class NarrowerProcessorTests
{
    [Fact]
    public async Task Kernels_WithSixteenRegisters_PassTheirTests()
    {
        Assert.SkipUnless(Avx512F.VL.IsSupported, "this processor has no AVX-512, so the other tests have run with 16 registers");
        ProcessStartInfo start = new(Environment.ProcessPath!, ["-class", typeof(SpecialKernelTests).FullName!, "-class", typeof(WaveTests).FullName!, "-class", typeof(ArithmeticTests).FullName!, "-noColor"])
        {
            RedirectStandardOutput = true,
        };
        start.Environment["DOTNET_EnableAVX512"] = "0";
        using Process tests = Process.Start(start)!;
        try
        {
            string output = await tests.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
            await tests.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.True(tests.ExitCode == 0, output);
            Assert.DoesNotContain("Total: 0", output, StringComparison.Ordinal);
        }
        finally
        {
            tests.Kill(entireProcessTree: true);
        }
    }
}
