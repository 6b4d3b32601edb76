using System.Buffers;
using System.Collections.Concurrent;
using Microsoft.AspNetCore.Connections;

namespace Distributed.Coordinator.Hosting;

/// <summary>
/// Gives Kestrel blocks of 64 KB instead of 4 KB: a vector of hundreds of kilobytes is then received in a few calls of the
/// system, each of which wakes a thread, not in a hundred.
/// </summary>
internal sealed class TransportMemory : MemoryPool<byte>, IMemoryPoolFactory<byte>
{
    private const int BlockBytes = 1 << 16;

    // The arrays are the shared pool's, which lets go of what is not used; that pool makes an owner for each that it lends.
    private readonly ConcurrentQueue<Block> _free = new();

    public override int MaxBufferSize => BlockBytes;

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => this;

    // Whoever asks for less gets more, which the pipes make use of.
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
        Block block = _free.TryDequeue(out Block? free) ? free : new Block(this);
        block.Array = ArrayPool<byte>.Shared.Rent(BlockBytes);
        return block;
    }

    protected override void Dispose(bool disposing)
    {
    }

    private sealed class Block(TransportMemory owner) : IMemoryOwner<byte>
    {
        public byte[]? Array { get; set; }

        public Memory<byte> Memory => Array ?? throw new ObjectDisposedException(nameof(Block));

        public void Dispose()
        {
            if (Array is not { } array)
                return;
            Array = null;
            ArrayPool<byte>.Shared.Return(array);
            owner._free.Enqueue(this);
        }
    }
}
