using Distributed.Exchange;
using Distributed.Protos;
using Distributed.Tests.Cluster;
using Distributed.Worker.Session;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Microsoft.Extensions.Logging.Abstractions;

namespace Distributed.Tests;

/// <summary>
/// What <see cref="AllocationTests"/> counts, of a step whose vectors of 373 KB go over gRPC, with a coordinator in a process of its own:
/// here it is the libraries alone that allocate, and the test bounds it.
/// </summary>
/// <remarks>
/// What is left, about 6 KB, and 14 with chunks: for each HTTP/2 frame of 16 KB that is sent an entry in the connection's queue and its task, two thirds of
/// it (WriteQueueEntry, Task of System.Net.Http), and the state of each call that has to wait (Http2Stream, Grpc.Net.Client).
/// </remarks>
[Collection(nameof(SessionTests))]
public sealed class GrpcAllocationTests
{
    private const int Steps = 8000;
    private const int StepsToWarmUp = 500;

    // There is more of it where more has to wait; a copy of a vector would be six times as much.
    private const int MostBytes = 64 << 10;

    [Theory]
    [InlineData("0")]
    [InlineData("64")]
    public async Task Step_OverGrpc_AllocatesNothingOfOurs(string chunkKilobytes)
    {
        using WideRun wide = new(train: Steps * 8, test: 20);
        string output = Path.Combine(wide.Directory, "out");
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "0", "--listen", "127.0.0.1:0", "--status", "none", "--exchange", "grpc", "--out", output,
            "--dataset", wide.Directory, "--model", wide.ModelFile, "--batch-size", "8", "--epochs", "1",
            "--chunk-kb", chunkKilobytes, "--heartbeat-interval", "10", "--heartbeat-timeout", "60");
        Uri address = new(await coordinator.AddressAsync());
        WorkerOptions options = new() { Coordinator = address, Threads = 1, Name = "watched", Exchange = ExchangeChoice.Grpc };
        using CoordinatorConnection connection = new(options, TimeProvider.System);
        using AllocationWatch types = new();
        StepWatch watch = new(types);
        CoordinatorSession session = new(connection.Invoker.Intercept(watch), options, TimeProvider.System, NullLogger.Instance, () => connection.Stream);
        Assert.Equal(SessionEnd.Drained, await session.RunAsync(TestContext.Current.CancellationToken));
        await coordinator.SucceedAsync();
        long bytes = watch.Bytes / (Steps - 1 - StepsToWarmUp);
        TestContext.Current.TestOutputHelper?.WriteLine($"{bytes} bytes a step");
        types.AssertNothingOfSteps();
        Assert.InRange(bytes, 1, MostBytes);
    }

    /// <summary>Counts between two of the orders that come by.</summary>
    private sealed class StepWatch(AllocationWatch types) : Interceptor
    {
        private long _before;

        public long Bytes { get; private set; }

        public override AsyncDuplexStreamingCall<TRequest, TResponse> AsyncDuplexStreamingCall<TRequest, TResponse>(
            ClientInterceptorContext<TRequest, TResponse> context, AsyncDuplexStreamingCallContinuation<TRequest, TResponse> continuation)
        {
            AsyncDuplexStreamingCall<TRequest, TResponse> call = continuation(context);
            return new AsyncDuplexStreamingCall<TRequest, TResponse>(
                call.RequestStream,
                (IAsyncStreamReader<TResponse>)(object)new Orders(this, (IAsyncStreamReader<Frame<CoordinatorMessage>>)(object)call.ResponseStream),
                call.ResponseHeadersAsync,
                call.GetStatus,
                call.GetTrailers,
                call.Dispose);
        }

        private void Look(CoordinatorMessage message)
        {
            if (message.Step is not { } step)
                return;
            if (step.Id.Step == StepsToWarmUp && _before == 0)
            {
                _before = GC.GetTotalAllocatedBytes(precise: true);
                types.Start();
            }

            if (step.Id.Step == Steps - 1 && Bytes == 0)
            {
                Bytes = GC.GetTotalAllocatedBytes(precise: true) - _before;
                types.Stop();
            }
        }

        private sealed class Orders(StepWatch watch, IAsyncStreamReader<Frame<CoordinatorMessage>> inner) : IAsyncStreamReader<Frame<CoordinatorMessage>>
        {
            public Frame<CoordinatorMessage> Current
            {
                get
                {
                    watch.Look(inner.Current.Message);
                    return inner.Current;
                }
            }

            public Task<bool> MoveNext(CancellationToken cancellationToken) => inner.MoveNext(cancellationToken);
        }
    }
}
