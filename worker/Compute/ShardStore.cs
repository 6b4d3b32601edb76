using System.Runtime.Intrinsics.X86;
using Distributed.Data;

namespace Distributed.Worker.Compute;

/// <summary>
/// The samples of the shards that this worker leases or has leased, as they came, and each shard's order in the current
/// epoch. One thread may fill shards while others read complete ones; one shard is read by one thread at a time.
/// </summary>
internal sealed class ShardStore
{
    // Of a cache, in bytes.
    private const int LineLength = 64;

    private const int ImagesAhead = 8;

    private readonly ShardPlan _plan;
    private readonly int _imageLength;
    private readonly Shard?[] _shards;

    /// <param name="plan">Which samples belong to which shard and step.</param>
    /// <param name="imageLength">Bytes an image.</param>
    public ShardStore(ShardPlan plan, int imageLength)
    {
        _plan = plan;
        _imageLength = imageLength;
        _shards = new Shard?[plan.Shards];
    }

    /// <summary>Puts consecutive samples of a shard in their place.</summary>
    /// <param name="shard">Which shard.</param>
    /// <param name="firstSample">Their place in the shard's file order.</param>
    /// <param name="images">Bytes of whole images.</param>
    /// <param name="labels">One an image.</param>
    /// <exception cref="ArgumentException">They do not fit the shard.</exception>
    public void Add(int shard, int firstSample, ReadOnlySpan<byte> images, ReadOnlySpan<byte> labels)
    {
        if ((uint)shard >= (uint)_shards.Length)
            throw new ArgumentException($"there is no shard {shard}", nameof(shard));
        int samples = _plan.ShardSamples(shard);
        if (images.Length != labels.Length * _imageLength || (uint)firstSample > (uint)samples || labels.Length > samples - firstSample)
        {
            throw new ArgumentException(
                $"{images.Length} bytes of images and {labels.Length} labels at {firstSample} do not fit shard {shard} of {samples} samples");
        }

        Shard held = _shards[shard] ??= new Shard(samples, _imageLength);
        images.CopyTo(held.Images.AsSpan((int)((long)firstSample * _imageLength)));
        labels.CopyTo(held.Labels.AsSpan(firstSample));
        // Behind the samples: another thread looks whether all are there.
        Volatile.Write(ref held.Received, held.Received + labels.Length);
    }

    /// <summary>Whether all samples of the shard have come.</summary>
    public bool IsComplete(int shard) => Volatile.Read(ref _shards[shard]) is { } held && Volatile.Read(ref held.Received) >= held.Labels.Length;

    /// <summary>Fetches the microbatch that a shard contributes to a step.</summary>
    /// <param name="images">Receives the images, dense, pixels divided by 255.</param>
    /// <param name="labels">Receives one class a sample.</param>
    /// <param name="sampleNumbers">Receives each sample's number in the training set.</param>
    /// <returns>The number of samples, up to the plan's microbatch.</returns>
    public int Gather(int shard, int epoch, int step, Span<float> images, Span<byte> labels, Span<int> sampleNumbers)
    {
        Shard held = _shards[shard] ?? throw new InvalidOperationException($"the data of shard {shard} is not here");
        if (held.OrderEpoch != epoch)
        {
            _plan.WriteOrder(epoch, shard, held.Order);
            held.OrderEpoch = epoch;
        }

        int samples = _plan.MicrobatchSamples(shard, step);
        ReadOnlySpan<int> positions = held.Order.AsSpan(step * _plan.Microbatch, samples);
        for (int i = 0; i < Math.Min(ImagesAhead, samples); i++)
            Prefetch(held, positions[i]);
        for (int i = 0; i < samples; i++)
        {
            if (i + ImagesAhead < samples)
                Prefetch(held, positions[i + ImagesAhead]);
            int position = positions[i];
            PixelScaling.Scale(held.Images.AsSpan((int)((long)position * _imageLength), _imageLength), images.Slice(i * _imageLength, _imageLength));
            labels[i] = held.Labels[position];
            sampleNumbers[i] = _plan.SampleAt(shard, position);
        }

        return samples;
    }

    /// <summary>
    /// Asks for an image some images before its turn: they lie all over the shard, and memory that is waited for line by line
    /// takes twice as long as the rest of the gathering.
    /// </summary>
    private unsafe void Prefetch(Shard held, int position)
    {
        if (!Sse.IsSupported)
            return;
        fixed (byte* images = held.Images)
        {
            byte* image = images + ((nint)position * _imageLength);
            for (int offset = 0; offset < _imageLength; offset += LineLength)
                Sse.Prefetch0(image + offset);
        }
    }

    private sealed class Shard(int samples, int imageLength)
    {
        public byte[] Images { get; } = new byte[checked(samples * imageLength)];

        public byte[] Labels { get; } = new byte[samples];

        public int[] Order { get; } = new int[samples];

        public int OrderEpoch { get; set; } = -1;

        public int Received;
    }
}
