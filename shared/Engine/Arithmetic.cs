namespace Distributed.Engine;

/// <summary>What the bits of a gradient depend on beside the run's settings: the order and form of the engine's operations.</summary>
public static class Arithmetic
{
    /// <summary>
    /// Raised with every change of the engine or the optimizers that alters a bit. Workers of another version are not let
    /// in, and checkpoints of another are not gone on from: either would mix two results.
    /// </summary>
    public const uint Version = 3;
}
