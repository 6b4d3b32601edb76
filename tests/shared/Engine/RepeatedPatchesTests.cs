using Distributed.Engine;
using Distributed.Engine.Kernels;

namespace Distributed.Tests.Engine;

/// <summary>The search for repeated patches by bits, against comparing each of a window's patches with those before it.</summary>
public sealed unsafe class RepeatedPatchesTests
{
    private const int Filters = 16;

    // What pixels are made of: zeros of both signs, which are empty but not the same bits, and two colours.
    private static readonly float[] _palette = [0, -0f, 1, 2];

    [Theory]
    [InlineData(1, 1, 1)]
    [InlineData(2, 3, 15)]
    [InlineData(3, 2, 16)]
    [InlineData(2, 2, 17)]
    [InlineData(1, 31, 31)]
    [InlineData(2, 3, 32)]
    [InlineData(2, 33, 33)]
    [InlineData(3, 64, 3)]
    public void Redirect_ImagesThatNearlyRepeat_IsThatOfEveryComparison(int rows, int columns, int channels)
    {
        Random random = new(channels);
        for (int image = 0; image < 150; image++)
        {
            Image drawn = Draw(random, rows, columns, channels, image);
            float[] expected = Compare(drawn, rows, columns);
            foreach (float[] sums in new[] { Redirected<Lanes512>(drawn, rows, columns), Redirected<Lanes256>(drawn, rows, columns), Redirected<Lanes128>(drawn, rows, columns), Redirected<ScalarLane>(drawn, rows, columns) })
                Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), sums.Select(BitConverter.SingleToInt32Bits));
        }
    }

    /// <summary>One colour, or stripes of two, in one of four directions, in which some values are others.</summary>
    private static Image Draw(Random random, int rows, int columns, int channels, int kind)
    {
        int height = (2 * rows) + 2, width = (2 * columns) + 2, stride = ArenaPlan.RoundUp(channels);
        float[] pixels = new float[height * width * stride], sums = new float[4 * rows * columns * Filters];
        float[] colours = [.. Enumerable.Range(0, height + width).Select(_ => _palette[random.Next(_palette.Length)])];
        for (int i = 0; i < pixels.Length; i++)
        {
            (int y, int x) = (i / stride / width, i / stride % width);
            pixels[i] = i % stride >= channels ? random.NextSingle() : colours[(kind % 5) switch { 0 => 0, 1 => x, 2 => y, 3 => x + y, _ => x - y + height - 1 }];
        }

        for (int i = random.Next(1 + (rows * columns)); i > 0; i--)
            pixels[(random.Next(height * width) * stride) + random.Next(channels)] = _palette[random.Next(_palette.Length)];
        foreach (ref float sum in sums.AsSpan())
            sum = random.NextSingle();
        return new Image(pixels, sums, width, stride, channels);
    }

    private static float[] Compare(Image image, int rows, int columns)
    {
        float[] sums = [.. image.Sums];
        for (int window = 0; window < rows * columns; window++)
        {
            int[] positions = Positions(window, columns);
            for (int i = 0; i < positions.Length; i++)
            {
                int[] patch = Patch(image, positions[i], columns);
                Span<float> target = sums.AsSpan(positions[i] * Filters, Filters);
                int first = Array.FindIndex(positions, position => Patch(image, position, columns).AsSpan().SequenceEqual(patch));
                if (patch.All(static bits => bits << 1 == 0))
                    target.Clear();
                else if (first < i)
                    sums.AsSpan(positions[first] * Filters, Filters).CopyTo(target);
            }
        }

        return sums;
    }

    /// <summary>The bits of the 3x3 pixels that a position sees.</summary>
    private static int[] Patch(Image image, int position, int columns) =>
    [
        .. from row in Enumerable.Range(position / (2 * columns), 3)
           from column in Enumerable.Range(position % (2 * columns), 3)
           from channel in Enumerable.Range(0, image.Channels)
           select BitConverter.SingleToInt32Bits(image.Pixels[(((row * image.Width) + column) * image.Stride) + channel]),
    ];

    private static float[] Redirected<TLanes>(Image image, int rows, int columns)
        where TLanes : unmanaged, ILanes<TLanes>
    {
        float[] sums = [.. image.Sums, .. new float[Filters]], mended = new float[image.Sums.Length];
        int* places = stackalloc int[4];
        fixed (float* pixels = image.Pixels)
        {
            RepeatedPatches patches = new()
            {
                RowStride = image.Width * image.Stride,
                PixelStride = image.Stride,
                Channels = image.Channels,
                Zeros = image.Sums.Length,
            };
            for (int window = 0; window < rows * columns; window++)
            {
                int[] positions = Positions(window, columns);
                for (int i = 0; i < positions.Length; i++)
                    places[i] = positions[i] * Filters;
                patches.Redirect<TLanes>(pixels + (((2 * (window / columns) * image.Width) + (2 * (window % columns))) * image.Stride), places);
                for (int i = 0; i < positions.Length; i++)
                    sums.AsSpan(places[i], Filters).CopyTo(mended.AsSpan(positions[i] * Filters));
            }
        }

        return mended;
    }

    /// <summary>A window's positions, as numbers of an image's.</summary>
    private static int[] Positions(int window, int columns) =>
        [.. from position in Enumerable.Range(0, 4) select (((2 * (window / columns)) + (position / 2)) * 2 * columns) + (2 * (window % columns)) + (position % 2)];

    /// <param name="Pixels">(height, width, stride), random beyond the channels.</param>
    /// <param name="Sums">(2 rows, 2 columns, filters).</param>
    private sealed record Image(float[] Pixels, float[] Sums, int Width, int Stride, int Channels);
}
