using Distributed.Engine.Kernels;

namespace Distributed.Engine.Operations;

/// <summary>
/// The last layer's softmax together with the loss: cross-entropy of the label, in nats. The gradient of the sum of
/// losses by the logits is p - 1 at the label and p elsewhere.
/// </summary>
internal sealed unsafe class SoftmaxCrossEntropy<TLanes>(Edge logits, Plane probabilities) : LossOperation
    where TLanes : unmanaged, ILanes<TLanes>
{
    public override Plane Probabilities => probabilities;

    public override string Kernels => $"softmax, cross-entropy, {TLanes.Count} lanes";

    public override MicrobatchResult Run(in Pass pass, ReadOnlySpan<byte> labels, Span<byte> predictions)
    {
        int classes = probabilities.Shape.Channels;
        double lossSum = 0;
        int correct = 0;
        for (int sample = 0; sample < pass.Samples; sample++)
        {
            float* z = pass.At(logits.Value) + (sample * logits.Value.SampleStride);
            float* p = pass.At(probabilities) + (sample * probabilities.SampleStride);
            (float max, float sum) = Softmax.Probabilities<TLanes>(z, p, classes);
            int predicted = 0;
            for (int i = 1; i < classes; i++)
                predicted = z[i] > z[predicted] ? i : predicted;
            if (!predictions.IsEmpty)
                predictions[sample] = (byte)predicted;
            if (labels.IsEmpty)
                continue;

            int label = labels[sample];
            correct += predicted == label ? 1 : 0;
            lossSum += Transcendental.Log(sum) - ((double)z[label] - max);
            if (!pass.IsTraining)
                continue;
            float* dz = pass.At(logits.Gradient!) + (sample * logits.Value.SampleStride);
            for (int i = 0; i < classes; i++)
                dz[i] = p[i];
            dz[label] -= 1;
        }

        return new MicrobatchResult(lossSum, correct);
    }
}

/// <summary>Where the network ends: probabilities, and in training the loss and its gradient.</summary>
internal abstract class LossOperation
{
    /// <summary>(samples, classes).</summary>
    public abstract Plane Probabilities { get; }

    public abstract string Kernels { get; }

    /// <param name="pass">A microbatch; where only probabilities are wanted, a wave as well.</param>
    /// <param name="labels">A class number a sample, or empty where only probabilities are wanted.</param>
    /// <param name="predictions">Receives each sample's most probable class; or empty.</param>
    public abstract MicrobatchResult Run(in Pass pass, ReadOnlySpan<byte> labels, Span<byte> predictions);
}
