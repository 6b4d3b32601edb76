using System.Net;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Hosting;

/// <summary>How much a worker may send before any of it is read: HTTP/2's window of its stream.</summary>
internal static class StreamWindow
{
    // What a worker may have on its way at a time where vectors travel in chunks, which are of use only as far as all workers have
    // sent them: were a whole gradient in the network's queues, those of a worker that is done a moment later would wait behind it.
    // With fewer a link of 1 Gbit/s and 0.2 ms would have nothing to do while word of what was read goes back.
    private const int ChunksUnderWay = 5;

    private const int Smallest = ushort.MaxValue;

    // Kestrel's own.
    private const int Usual = 768 << 10;

    /// <summary>Bytes.</summary>
    public static int Of(RunOptions options)
    {
        // From this host they come whole.
        bool areAllNear = IPAddress.IsLoopback(options.ListenAddress().EndPoint.Address);
        long chunk = options.ChunkBytes ?? (areAllNear ? 0 : RunOptions.UsualChunkBytes);
        return chunk == 0 ? Usual : (int)Math.Clamp(ChunksUnderWay * chunk, Smallest, int.MaxValue);
    }
}
