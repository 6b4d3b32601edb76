using System.Buffers;
using Microsoft.AspNetCore.Connections;

namespace Distributed.Coordinator.Hosting;

/// <summary>
/// Gives Kestrel blocks of 64 KB instead of 4 KB: a vector of hundreds of kilobytes is then received in a few calls of the
/// system, each of which wakes a thread, not in a hundred.
/// </summary>
internal sealed class TransportMemory : MemoryPool<byte>, IMemoryPoolFactory<byte>
{
    private const int BlockBytes = 1 << 16;

    public override int MaxBufferSize => BlockBytes;

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => this;

    // Whoever asks for less gets more, which the pipes make use of.
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1) => Shared.Rent(Math.Max(minBufferSize, BlockBytes));

    protected override void Dispose(bool disposing)
    {
    }
}
