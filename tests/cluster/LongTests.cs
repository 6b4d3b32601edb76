namespace Distributed.Tests.Cluster;

/// <summary>Tests that take minutes, or that judge by the clock, run only where they are asked for.</summary>
internal static class LongTests
{
    private const string Variable = "DISTRIBUTED_LONG_TESTS";

    public static bool AreWanted => Environment.GetEnvironmentVariable(Variable) == "1";

    /// <summary>Skips the test, visibly, unless long ones are wanted.</summary>
    public static void Require() => Assert.SkipUnless(AreWanted, $"takes long or judges by the clock: set {Variable}=1");
}
