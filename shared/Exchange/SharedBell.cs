using System.Runtime.InteropServices;

namespace Distributed.Exchange;

/// <summary>
/// A bell in memory that processes share: Linux's futex on a word of it. Ringing costs a system call only while somebody
/// waits.
/// </summary>
/// <remarks>Layout: the count of rings, and on a cache line of its own the number of waiters.</remarks>
public sealed unsafe partial class SharedBell : Bell
{
    /// <summary>Bytes that a bell takes up, zeros before its first ring.</summary>
    public const int Size = 2 * Line;

    private const int Line = 64;
    private const int FutexWait = 0;
    private const int FutexWake = 1;

    private readonly SharedSegment _segment;
    private readonly int* _rings;
    private readonly int* _waiters;

    /// <param name="segment">Where it is; must not be disposed while the bell is in use.</param>
    /// <param name="offset">Bytes from its start, a multiple of 64.</param>
    public SharedBell(SharedSegment segment, int offset)
    {
        _segment = segment;
        _rings = (int*)segment.At(offset, Size);
        _waiters = (int*)(segment.At(offset, Size) + Line);
    }

    /// <summary>Whether this system has them.</summary>
    public static bool IsSupported => OperatingSystem.IsLinux() && SystemCall is not null;

    private static long? SystemCall => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 202,
        Architecture.Arm64 => 98,
        _ => null,
    };

    public override int Look() => Volatile.Read(ref *_rings);

    public override void Ring()
    {
        Interlocked.Increment(ref *_rings);
        if (Volatile.Read(ref *_waiters) != 0)
            Futex(SystemCall!.Value, _rings, FutexWake, 1, null, null, 0);
        GC.KeepAlive(_segment);
    }

    public override void WaitPast(int seen, TimeSpan timeout)
    {
        // A waiter that dies stays counted, which costs its ringers a needless call and nothing else.
        Interlocked.Increment(ref *_waiters);
        TimeSpec limit = new((long)timeout.TotalSeconds, timeout.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        // The kernel compares once more before it lets this thread sleep. Not the private kind: the word is shared.
        if (Look() == seen)
            Futex(SystemCall!.Value, _rings, FutexWait, seen, &limit, null, 0);
        Interlocked.Decrement(ref *_waiters);
        GC.KeepAlive(_segment);
    }

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    private static partial long Futex(long number, int* word, int operation, int value, TimeSpec* timeout, int* word2, int value3);

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct TimeSpec(long seconds, long nanoseconds)
    {
        public readonly long Seconds = seconds;
        public readonly long Nanoseconds = nanoseconds;
    }
}
