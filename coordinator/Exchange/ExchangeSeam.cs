namespace Distributed.Coordinator.Exchange;

/// <summary>What there is beside gRPC.</summary>
/// <param name="Shared">Null: nothing.</param>
internal sealed record ExchangeSeam(SharedExchange? Shared);
