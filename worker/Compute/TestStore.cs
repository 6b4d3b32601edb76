namespace Distributed.Worker.Compute;

/// <summary>The blocks of the test set that this worker was given.</summary>
internal sealed class TestStore
{
    private readonly (byte[] Images, byte[] Labels)?[] _blocks;
    private readonly int _imageLength;

    /// <param name="blocks">How many blocks the test set is cut into.</param>
    /// <param name="imageLength">Bytes an image.</param>
    public TestStore(int blocks, int imageLength)
    {
        _blocks = new (byte[], byte[])?[blocks];
        _imageLength = imageLength;
    }

    /// <exception cref="ArgumentException">There is no such block, or images and labels differ in number.</exception>
    public void Add(int block, ReadOnlySpan<byte> images, ReadOnlySpan<byte> labels)
    {
        if ((uint)block >= (uint)_blocks.Length || labels.IsEmpty || images.Length != labels.Length * _imageLength)
            throw new ArgumentException($"{images.Length} bytes of images and {labels.Length} labels do not make block {block} of the test set");
        _blocks[block] = (images.ToArray(), labels.ToArray());
    }

    public (byte[] Images, byte[] Labels) Get(int block) =>
        _blocks[block] ?? throw new InvalidOperationException($"block {block} of the test set is not here");
}
