namespace Distributed.Worker.Compute;

/// <summary>The blocks of the test set that this worker was given.</summary>
internal sealed class TestStore
{
    private readonly Block?[] _blocks;
    private readonly int _imageLength;

    /// <param name="blocks">How many blocks the test set is cut into.</param>
    /// <param name="imageLength">Bytes an image.</param>
    public TestStore(int blocks, int imageLength)
    {
        _blocks = new Block?[blocks];
        _imageLength = imageLength;
    }

    /// <exception cref="ArgumentException">There is no such block, or images and labels differ in number.</exception>
    public void Add(int block, ReadOnlySpan<byte> images, ReadOnlySpan<byte> labels)
    {
        if ((uint)block >= (uint)_blocks.Length || labels.IsEmpty || images.Length != labels.Length * _imageLength)
            throw new ArgumentException($"{images.Length} bytes of images and {labels.Length} labels do not make block {block} of the test set");
        Volatile.Write(ref _blocks[block], new Block(images.ToArray(), labels.ToArray()));
    }

    /// <summary>Whether a block has come. From any thread.</summary>
    public bool Has(int block) => (uint)block < (uint)_blocks.Length && Volatile.Read(ref _blocks[block]) is not null;

    public (byte[] Images, byte[] Labels) Get(int block) => _blocks[block] is { } held
        ? (held.Images, held.Labels)
        : throw new InvalidOperationException($"block {block} of the test set is not here");

    private sealed record Block(byte[] Images, byte[] Labels);
}
