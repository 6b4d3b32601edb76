using Distributed.Protos;
using Grpc.Core;
using Grpc.Net.Client;

namespace Distributed.Tests;

/// <summary>Calls a coordinator as a worker does.</summary>
internal static class Calls
{
    public static AsyncDuplexStreamingCall<Frame<WorkerMessage>, Frame<CoordinatorMessage>> Join(this GrpcChannel channel) =>
        channel.CreateCallInvoker().AsyncDuplexStreamingCall(
            JoinMethod.Create(new Reduction.VectorPool().Rent), null, new CallOptions(cancellationToken: TestContext.Current.CancellationToken));
}
