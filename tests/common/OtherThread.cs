namespace Distributed.Tests;

/// <summary>For what depends on which thread asks.</summary>
internal static class OtherThread
{
    /// <summary>What a function returns on a thread of its own, which has ended.</summary>
    public static T Run<T>(Func<T> function)
    {
        T result = default!;
        Thread thread = new(() => result = function());
        thread.Start();
        thread.Join();
        return result;
    }
}
