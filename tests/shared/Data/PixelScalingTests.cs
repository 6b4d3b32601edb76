using Distributed.Data;

namespace Distributed.Tests.Data;

public sealed class PixelScalingTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(17)]
    [InlineData(31)]
    [InlineData(784)]
    [InlineData(785)]
    public void Scale_ForAnyLength_HasBitsOfScalarDivision(int length)
    {
        byte[] source = new byte[length];
        new Random(length).NextBytes(source);
        float[] destination = new float[length + 1];
        destination[length] = -1;
        PixelScaling.Scale(source, destination);
        Assert.Equal([.. source.Select(static pixel => BitConverter.SingleToInt32Bits(pixel / 255f))], destination[..length].Select(BitConverter.SingleToInt32Bits));
        Assert.Equal(-1, destination[length]);
    }

    [Fact]
    public void Scale_ForEveryByte_HasBitsOfScalarDivision()
    {
        byte[] source = [.. Enumerable.Range(0, 256).Select(static value => (byte)value)];
        float[] destination = new float[256];
        PixelScaling.Scale(source, destination);
        Assert.Equal(source.Select(static pixel => pixel / 255f), destination);
        Assert.Equal((0f, 1f), (destination[0], destination[255]));
    }
}
