using Distributed.Reduction;
using Partial = Distributed.Reduction.Partial;

namespace Distributed.Coordinator.Training;

/// <summary>What is wrong with a partial.</summary>
/// <param name="IsNonFinite">It is as it should be but for a value that is infinite or not a number.</param>
internal sealed record PartialFault(string Text, bool IsNonFinite);

/// <summary>Looks at partials before they are added, and says what is wrong with them.</summary>
internal sealed class PartialReview(RunDefinition run)
{
    /// <summary>What is wrong with a partial by what it says of itself; null: nothing.</summary>
    public PartialFault? FindFault(PartialArrived partial)
    {
        int expected = 0;
        (int first, int end) = run.Tree.Range(partial.Node);
        for (int shard = first; shard < end; shard++)
            expected += run.Plan.MicrobatchSamples(shard, partial.Order.Step);
        if (partial.Chunk is { } cut && !(cut >= 0 && cut < run.Chunks?.Count))
            return new PartialFault($"its gradient comes in a chunk {cut + 1L}, which this run has not", IsNonFinite: false);
        (int from, int to) = partial.Chunk is not { } chunk ? (0, run.Model.ParameterCount) : run.Chunks![chunk];
        int bytes = (to - from) * sizeof(float);
        string? fault = partial.Gradient.Length != bytes ? $"its gradient has {partial.Gradient.Length} bytes, not {bytes}"
            : partial.Wire is { } wire && wire != run.Options.Wire ? $"its gradient has come as {wire.Word()}, not {run.Options.Wire.Word()} (--wire)"
            : partial.Samples != expected ? $"it is over {partial.Samples} samples, not {expected}"
            : partial.Correct < 0 || partial.Correct > expected ? $"it counts {partial.Correct} right answers of {expected}"
            : null;
        return fault is null ? null : new PartialFault(fault, IsNonFinite: false);
    }

    /// <summary>
    /// What is wrong with a gradient that lies in shared memory, where nothing shows what it has been rounded to but its values;
    /// null: nothing.
    /// </summary>
    public PartialFault? FindUnrounded(Partial held, WirePrecision? wire)
    {
        if (wire is not null || run.Options.Wire == WirePrecision.Float32)
            return null;
        int position = Bfloat16.FindOther(held.Gradient.Values);
        return position < 0 ? null : new PartialFault($"the gradient of {NameAt(position)} is not rounded to bf16 (--wire)", IsNonFinite: false);
    }

    /// <summary>What is wrong with the place of a chunk among those of its partial; null: nothing.</summary>
    /// <param name="begun">How many of its chunks are in; null: none.</param>
    public static PartialFault? FindGap(PartialArrived partial, int? begun) => partial.Chunk == begun || (begun is null && partial.Chunk == 0)
        ? null
        : new PartialFault($"its gradient comes in disorder: {(partial.Chunk is { } chunk ? $"chunk {chunk + 1}" : "all of it")} after {begun ?? 0} chunks", IsNonFinite: false);

    /// <summary>Names a loss that is infinite or not a number; null: it is finite.</summary>
    public static string? FindNonFinite(double loss) => double.IsFinite(loss) ? null : "the loss";

    /// <summary>Names what is infinite or not a number in a part of a gradient; null: nothing is.</summary>
    public string? FindNonFinite(VectorBuffer gradient, (int First, int End) range)
    {
        int position = FiniteScan.FindOther(gradient.Values[range.First..range.End]);
        return position >= 0 ? $"the gradient of {NameAt(range.First + position)}" : null;
    }

    /// <summary>The end of a run: finite partials may add up to what no float32 can hold.</summary>
    public static RunFailedException Diverged(string where, OrderId order) =>
        new($"training has diverged: the sum of {where} is not finite (epoch {order.Epoch + 1}, step {order.Step + 1}); try a smaller --learning-rate");

    private string NameAt(int position) => run.Model.Parameters.First(tensor => position < tensor.Offset + tensor.Length).Name;

    /// <summary>What is wrong with a partial that its sender was not ordered to send.</summary>
    public static string DescribeStray(OrderId order) =>
        $"the sender has no such order: run {order.Run:x12}, membership {order.MembershipVersion}, epoch {order.Epoch + 1}, step {order.Step + 1}";

    /// <summary>The same shard's partial was refused twice: one line that says whose, why, and over which samples.</summary>
    public string DescribeRepeated(PartialArrived partial, PartialFault fault, string firstWorker, string secondWorker)
    {
        (int first, int end) = run.Tree.Range(partial.Node);
        string samples = string.Join(", ", Enumerable.Range(first, end - first)
            .SelectMany(shard => run.Plan.SampleNumbers(partial.Order.Epoch, shard, partial.Order.Step)));
        string workers = firstWorker == secondWorker ? $"{firstWorker}, twice" : $"{firstWorker} and {secondWorker}";
        return fault.IsNonFinite
            ? $"training has diverged: {fault.Text} in {partial.Node}, samples {samples} of the training set, computed by {workers}; try a smaller --learning-rate"
            : $"the partials of {partial.Node} were refused of {workers}: {fault.Text}";
    }
}
