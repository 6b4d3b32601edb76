using System.Diagnostics;

namespace Distributed.Models;

/// <summary>The words Keras has for layers and their arguments.</summary>
public static class LayerWords
{
    internal static readonly string[] Activations = [.. Enum.GetValues<ActivationKind>().Select(Word)];
    internal static readonly string[] Paddings = [.. Enum.GetValues<Padding>().Select(Word)];

    /// <summary>Keras' class name: Conv2D.</summary>
    public static string TypeName(LayerDefinition layer) => layer switch
    {
        Conv2D => "Conv2D",
        MaxPooling2D => "MaxPooling2D",
        AveragePooling2D => "AveragePooling2D",
        Flatten => "Flatten",
        Dense => "Dense",
        Dropout => "Dropout",
        ActivationLayer => "Activation",
        _ => throw new UnreachableException($"no name for {layer.GetType().Name}"),
    };

    /// <summary>What Keras numbers an unnamed layer with: conv2d, as in conv2d_1.</summary>
    internal static string NameStem(LayerDefinition layer) => layer switch
    {
        MaxPooling2D => "max_pooling2d",
        AveragePooling2D => "average_pooling2d",
        _ => TypeName(layer).ToLowerInvariant(),
    };

    public static string Word(ActivationKind activation) => activation switch
    {
        ActivationKind.Linear => "linear",
        ActivationKind.Relu => "relu",
        ActivationKind.Tanh => "tanh",
        ActivationKind.Sigmoid => "sigmoid",
        ActivationKind.Softmax => "softmax",
        _ => throw new UnreachableException($"no name for activation {activation}"),
    };

    public static string Word(Padding padding) => padding == Padding.Valid ? "valid" : "same";
}
