namespace Distributed.Worker.Compute;

/// <summary>A vector cut into parts of about one length, for threads to work on at once.</summary>
internal static class VectorParts
{
    // A cache line, of which two threads shall not write to the same.
    private const int FloatsPerLine = 16;

    /// <summary>Where a part starts; where the one after the last would start the vector ends.</summary>
    /// <param name="part">From 0 to <paramref name="parts"/>.</param>
    /// <param name="length">The vector's, in float32 values; it should begin with a cache line.</param>
    public static int Start(int part, int parts, int length) => part == parts ? length : (int)((long)length * part / parts) & -FloatsPerLine;
}
