using Distributed.Reduction;

namespace Distributed.Coordinator.Exchange;

/// <summary>What there is beside gRPC.</summary>
/// <param name="Shared">Null: nothing.</param>
internal sealed record ExchangeSeam(SharedExchange? Shared)
{
    /// <summary>Where gradients that come over gRPC are read to.</summary>
    public VectorPool Vectors { get; } = new();
}
