using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Training;

namespace Distributed.Tests;

public sealed class StreamWindowTests
{
    [Theory]
    [InlineData("127.0.0.1:0", null, 768 << 10)]
    [InlineData("0.0.0.0:0", null, 5 * RunOptions.UsualChunkBytes)]
    [InlineData("0.0.0.0:0", 0L, 768 << 10)]
    [InlineData("127.0.0.1:0", 100_000L, 500_000)]
    [InlineData("127.0.0.1:0", 4096L, ushort.MaxValue)]
    [InlineData("127.0.0.1:0", 1L << 30, int.MaxValue)]
    public void Of_WhatMayComeInOnePiece_HoldsAsMuchAsMayBeUnderWay(string listen, long? chunk, int expected) =>
        Assert.Equal(expected, StreamWindow.Of(new RunOptions { Listen = listen, ChunkBytes = chunk }));
}
