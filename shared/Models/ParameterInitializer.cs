using Distributed.Data;

namespace Distributed.Models;

/// <summary>
/// Initial parameters as Keras draws them: kernels glorot_uniform (Glorot and Bengio 2010), biases zero. Which numbers
/// depends on the seed and the parameter's place alone, and every operation is a correctly rounded one, so the bits are
/// the same on every machine.
/// </summary>
public static class ParameterInitializer
{
    /// <summary>All P parameters in the order of <see cref="ResolvedModel.Parameters"/>.</summary>
    public static float[] Create(ResolvedModel model, ulong seed)
    {
        float[] parameters = new float[model.ParameterCount];
        for (int layer = 0; layer < model.Layers.Count; layer++)
        {
            IReadOnlyList<ParameterTensor> tensors = model.Layers[layer].Parameters;
            for (int index = 0; index < tensors.Count; index++)
            {
                ParameterTensor tensor = tensors[index];
                if (tensor.Shape.Length > 1)
                    FillGlorotUniform(tensor.Shape, new Philox(seed, RandomPurpose.InitialWeights, (uint)layer, (uint)index), parameters.AsSpan(tensor.Offset, tensor.Length));
            }
        }

        return parameters;
    }

    /// <summary>Half the width of the distribution: sqrt(6 / (fan_in + fan_out)), with the receptive field in both fans.</summary>
    internal static float GlorotLimit(ReadOnlySpan<int> shape)
    {
        long field = 1;
        foreach (int extent in shape[..^2])
            field *= extent;
        return MathF.Sqrt(6f / (field * ((long)shape[^2] + shape[^1])));
    }

    private static void FillGlorotUniform(ReadOnlySpan<int> shape, Philox random, Span<float> values)
    {
        float limit = GlorotLimit(shape);
        foreach (ref float value in values)
        {
            // 2u - 1 is exact: u is a multiple of 2^-24 below 1.
            value = ((2f * random.NextSingle()) - 1f) * limit;
        }
    }
}
