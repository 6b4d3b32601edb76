using System.Buffers;
using System.Runtime.InteropServices;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Exchange;

namespace Distributed.Tests;

public sealed class WeightsAheadTests
{
    private const int Parameters = 40;

    // 40 values: 8, 16 and 16, from the end.
    private readonly VectorChunks _chunks = new(Parameters, 16);
    private readonly float[] _weights = [.. Enumerable.Range(1, Parameters).Select(static i => (float)i)];
    private readonly WeightsAhead _ahead;

    public WeightsAheadTests() => _ahead = new WeightsAhead(new VectorPool(), _chunks, WirePrecision.Float32);

    [Fact]
    public void Weights_InAllTheirChunks_AreWholeForOneOrder()
    {
        for (int step = 0; step < 2; step++)
        {
            foreach (uint chunk in (uint[])[1, 2, 3])
                Add(step, chunk);
            using (IMemoryOwner<byte> whole = _ahead.Take(Of(step)))
                Assert.Equal(_weights, MemoryMarshal.Cast<byte, float>(whole.Memory.Span).ToArray());
            Assert.Contains("without its weights", Assert.Throws<IOException>(() => _ahead.Take(Of(step))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Weights_BegunAnew_TakeBackWhatCameBefore()
    {
        Add(0, 1);
        Add(0, 2);
        Add(0, 1);
        Assert.Throws<IOException>(() => Add(0, 3));
        Add(0, 2);
        Add(0, 3);
        _ahead.Take(Of(0)).Dispose();
    }

    [Fact]
    public void Weights_OfWhichAChunkIsMissing_AreNone()
    {
        Add(0, 1);
        Add(0, 2);
        Assert.Throws<IOException>(() => _ahead.Take(Of(0)));
        Add(0, 3);
        Assert.Throws<IOException>(() => _ahead.Take(Of(1)));
        Assert.Throws<IOException>(() => _ahead.Take(null));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(uint.MaxValue)]
    public void Chunk_OutOfOrder_IsRefused(uint chunk) => Assert.Contains("disorder", Assert.Throws<IOException>(() => _ahead.Add(Message(0, chunk), default, false)).Message, StringComparison.Ordinal);

    [Fact]
    public void Chunk_BeyondTheLast_OfAnotherStepOrLength_IsRefused()
    {
        Assert.Contains("bytes", Assert.Throws<IOException>(() => _ahead.Add(Message(0, 1), new byte[4], false)).Message, StringComparison.Ordinal);
        Add(0, 1);
        Assert.Throws<IOException>(() => Add(1, 2));
        Add(0, 2);
        Add(0, 3);
        Assert.Throws<IOException>(() => _ahead.Add(Message(0, 4), default, false));
        Assert.Throws<IOException>(() => _ahead.Add(new Weights { Chunk = 1 }, default, false));
        Assert.Throws<IOException>(() => new WeightsAhead(new VectorPool(), null, WirePrecision.Float32).Add(Message(0, 1), default, false));
    }

    [Fact]
    public void Chunk_InAnotherPrecisionThanTheRuns_EndsTheWorker() =>
        Assert.Contains("float32", Assert.Throws<RunFailedException>(() => _ahead.Add(Message(0, 1), default, isBfloat16: true)).Message, StringComparison.Ordinal);

    private void Add(int step, uint chunk)
    {
        (int first, int end) = _chunks[(int)chunk - 1];
        _ahead.Add(Message(step, chunk), MemoryMarshal.AsBytes(_weights.AsSpan(first, end - first)).ToArray(), isBfloat16: false);
    }

    private static Weights Message(int step, uint chunk) => new() { Id = Of(step), Chunk = chunk };

    private static StepId Of(int step) => new() { Run = 7, Epoch = 1, Step = (uint)step };
}
