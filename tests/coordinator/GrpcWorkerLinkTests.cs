using System.Collections.Immutable;
using Distributed.Coordinator.Hosting;
using Distributed.Coordinator.Members;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;
using Grpc.Core;
using Microsoft.AspNetCore.Http;

namespace Distributed.Tests;

/// <summary>How the weights of a step come to a worker: in chunks before its order, or whole with it.</summary>
public sealed class GrpcWorkerLinkTests : IDisposable
{
    private readonly TinyRun _tiny = new(train: 100, test: 8);
    private readonly Written _written = new();
    private readonly VectorBuffer _weights;
    private RunDefinition _run;

    public GrpcWorkerLinkTests()
    {
        _run = Define(chunkBytes: 200);
        _weights = new VectorBuffer(_run.Model.ParameterCount);
    }

    [Fact]
    public async Task Step_WhoseWeightsHaveCome_IsOrderedWithoutThemOnce()
    {
        using GrpcWorkerLink link = Create(isNear: false);
        SendAll(link, Order(3));
        OrderTwice(link, Order(3));
        IReadOnlyList<Frame<CoordinatorMessage>> frames = await CloseAsync(link);
        int[] lengths = [.. frames.Where(static frame => frame.Message.Weights is not null).Select(static frame => frame.Vector.Length / sizeof(float))];
        Assert.Equal([42, 64, 64, 64], lengths);
        Assert.Equal([true, false], Steps(frames).Select(static frame => frame.Message.Step.WeightsCame));
        Assert.Equal([0, _weights.Bytes.Length], Steps(frames).Select(static frame => frame.Vector.Length));
    }

    [Theory]
    [InlineData("forgotten")]
    [InlineData("of another step")]
    [InlineData("not all")]
    public async Task Step_WhoseWeightsHaveNotCome_IsOrderedWithThem(string ahead)
    {
        using GrpcWorkerLink link = Create(isNear: false);
        SendAll(link, Order(ahead == "of another step" ? 2 : 3), ahead == "not all" ? 3 : 4);
        if (ahead == "forgotten")
            link.ForgetWeights();
        OrderTwice(link, Order(3));
        Assert.All(Steps(await CloseAsync(link)), frame => Assert.Equal((false, _weights.Bytes.Length), (frame.Message.Step.WeightsCame, frame.Vector.Length)));
    }

    [Theory]
    [InlineData(true, null, false)]
    [InlineData(false, null, true)]
    [InlineData(true, 200, true)]
    [InlineData(false, 0, false)]
    public async Task Vectors_GoInChunksToOtherHosts_OrWhereTheyAreAskedFor(bool isNear, int? chunkBytes, bool areCut)
    {
        _run = Define(chunkBytes);
        using GrpcWorkerLink link = Create(isNear);
        Assert.Equal(areCut, link.TakesChunks);
        SendAll(link, Order(1), 1);
        IReadOnlyList<Frame<CoordinatorMessage>> frames = await CloseAsync(link);
        Assert.Equal(areCut, frames.Any(static frame => frame.Message.Weights is not null));
        Welcome welcome = frames.Single(static frame => frame.Message.Welcome is not null).Message.Welcome;
        Assert.Equal(areCut ? (uint)_run.Chunks!.Size : 0, welcome.ChunkValues);
        Assert.Equal((uint)StreamWindow.Of(_run.Options), welcome.WindowBytes);
    }

    public void Dispose() => _tiny.Dispose();

    private RunDefinition Define(int? chunkBytes) => new(new RunOptions { BatchSize = 32, Shards = 8, ChunkBytes = chunkBytes }, _tiny.Dataset, _tiny.Model);

    private GrpcWorkerLink Create(bool isNear)
    {
        DefaultHttpContext call = new();
        MessageLimit.Impose(call);
        GrpcWorkerLink link = new(new Member(1, "one", 1, "none", "there") { IsNear = isNear }, MessageLimit.Of(call), exchange: null, TimeProvider.System);
        link.Welcome(_run, membershipVersion: 1);
        link.Settle(sharesMemory: false);
        return link;
    }

    private OrderId Order(int step) => new(_run.RunNumber, MembershipVersion: 1, Epoch: 0, step);

    private void SendAll(GrpcWorkerLink link, OrderId order, int chunks = 4)
    {
        for (int chunk = 0; chunk < chunks; chunk++)
            link.SendWeights(order, _weights, chunk);
    }

    private void OrderTwice(GrpcWorkerLink link, OrderId order)
    {
        for (int shard = 0; shard < 2; shard++)
            link.OrderStep(order, _weights, [TreeNode.Leaf(shard)]);
    }

    /// <summary>Everything that was sent.</summary>
    private async Task<IReadOnlyList<Frame<CoordinatorMessage>>> CloseAsync(GrpcWorkerLink link)
    {
        link.Refuse("that is all");
        await link.WriteToAsync(_written, TimeSpan.FromMinutes(10), TestContext.Current.CancellationToken);
        return _written.Frames;
    }

    private static ImmutableArray<Frame<CoordinatorMessage>> Steps(IEnumerable<Frame<CoordinatorMessage>> frames) => [.. frames.Where(static frame => frame.Message.Step is not null)];

    private sealed class Written : IServerStreamWriter<Frame<CoordinatorMessage>>
    {
        public List<Frame<CoordinatorMessage>> Frames { get; } = [];

        public WriteOptions? WriteOptions { get; set; }

        public Task WriteAsync(Frame<CoordinatorMessage> message)
        {
            // It is used again.
            Frames.Add(new Frame<CoordinatorMessage>(message.Message.Clone(), message.Vector, message.IsBfloat16));
            return Task.CompletedTask;
        }

        public Task WriteAsync(Frame<CoordinatorMessage> message, CancellationToken cancellationToken) => WriteAsync(message);
    }
}
