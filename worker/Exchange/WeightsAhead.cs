using System.Buffers;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Worker.Exchange;

/// <summary>Puts the weights of the next step together, which come in chunks before its order does.</summary>
/// <param name="pool">Gives the memory of whole vectors.</param>
/// <param name="chunks">How they are cut; null: they come whole.</param>
/// <param name="precision">What they must travel as.</param>
internal sealed class WeightsAhead(VectorPool pool, VectorChunks? chunks, WirePrecision precision)
{
    private IMemoryOwner<byte>? _weights;
    private (uint Epoch, uint Step) _of;
    private int _came;

    /// <exception cref="IOException">It is not the chunk that is to come, or of another length.</exception>
    /// <exception cref="RunFailedException">It has come in another precision than the run's: so would all that follow.</exception>
    /// <param name="values">Float32 values.</param>
    /// <param name="isBfloat16">Whether they came as bfloat16.</param>
    public void Add(Weights chunk, ReadOnlyMemory<byte> values, bool isBfloat16)
    {
        if (isBfloat16 != (precision == WirePrecision.Bf16))
            throw new RunFailedException($"could not carry out an order: the weights have not come as {precision.Word()}");
        if (chunk.Id is null)
            throw new IOException("the coordinator's weights are of no step");
        // The first takes back what has come before: the coordinator has begun anew.
        if (chunk.Chunk == 1)
            (_came, _of) = (0, (chunk.Id.Epoch, chunk.Id.Step));
        if (chunks is null || chunk.Chunk != _came + 1 || _came == chunks.Count || _of != (chunk.Id.Epoch, chunk.Id.Step))
            throw new IOException($"the coordinator's chunk {chunk.Chunk} of the weights comes in disorder");
        (int first, int end) = chunks[_came];
        if (values.Length != (end - first) * sizeof(float))
            throw new IOException($"the coordinator's chunk {chunk.Chunk} of the weights has {values.Length} bytes, not {(end - first) * sizeof(float)}");
        _weights ??= pool.Rent(chunks.Length * sizeof(float));
        values.CopyTo(_weights.Memory[(first * sizeof(float))..]);
        _came++;
    }

    /// <summary>The whole weights of a step, now the caller's.</summary>
    /// <exception cref="IOException">They have not come.</exception>
    public IMemoryOwner<byte> Take(StepId? step)
    {
        if (step is null)
            throw new IOException("the coordinator's order is of no step");
        if (_weights is not { } weights || _came != chunks!.Count || _of != (step.Epoch, step.Step))
            throw new IOException($"the coordinator ordered step {step.Step + 1} without its weights");
        (_weights, _came) = (null, 0);
        return weights;
    }
}
