using CsCheck;
using Distributed.Models;

namespace Distributed.Tests.Models;

/// <summary>Random models, valid as text though not for any image.</summary>
internal static class ModelGen
{
    private static readonly Gen<ActivationKind> s_activations = Gen.Int[0, 4].Select(static kind => (ActivationKind)kind);
    private static readonly Gen<Padding> s_paddings = Gen.Bool.Select(static isSame => isSame ? Padding.Same : Padding.Valid);
    private static readonly Gen<Size2D> s_sizes = Gen.Select(Gen.Int[1, 9], Gen.Int[1, 9], static (height, width) => new Size2D(height, width));

    private static readonly Gen<LayerDefinition> s_layers = Gen.OneOf<LayerDefinition>(
        Gen.Select(Gen.Int[1, 500], s_sizes, s_sizes, s_paddings, s_activations, static (filters, size, strides, padding, activation) =>
            (LayerDefinition)new Conv2D(filters, size, strides, padding, activation)),
        Gen.Select(s_sizes, s_sizes, s_paddings, static (size, strides, padding) => (LayerDefinition)new MaxPooling2D(size, strides, padding)),
        Gen.Select(s_sizes, s_sizes, s_paddings, static (size, strides, padding) => (LayerDefinition)new AveragePooling2D(size, strides, padding)),
        Gen.Const((LayerDefinition)new Flatten()),
        Gen.Select(Gen.Int[1, 5000], s_activations, static (units, activation) => (LayerDefinition)new Dense(units, activation)),
        Gen.Float[0, 0.99f].Select(static rate => (LayerDefinition)new Dropout(rate)),
        s_activations.Select(static activation => (LayerDefinition)new ActivationLayer(activation)));

    public static Gen<ModelDefinition> Models { get; } = Gen.Select(
        Gen.String[Gen.Char["abcXYZ019_-."], 1, 20],
        Gen.Select(s_layers, Gen.Bool).List[1, 12],
        static (name, layers) => new ModelDefinition(name, [.. layers.Select(static (layer, index) => layer.Item2 ? layer.Item1 with { Name = $"given.{index}" } : layer.Item1)]));
}
