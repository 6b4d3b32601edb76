using Distributed.Coordinator.Exchange;
using Distributed.Protos;
using Grpc.AspNetCore.Server.Model;

namespace Distributed.Coordinator.Hosting;

/// <summary>Tells gRPC of <see cref="TrainingService"/>'s one call, whose marshalling is ours.</summary>
internal sealed class JoinBinding(ExchangeSeam seam) : IServiceMethodProvider<TrainingService>
{
    public void OnServiceMethodDiscovery(ServiceMethodProviderContext<TrainingService> context) => context.AddDuplexStreamingMethod(
        JoinMethod.Create(seam.Vectors.Rent), [], static (service, requests, responses, call) => service.Join(requests, responses, call));
}
