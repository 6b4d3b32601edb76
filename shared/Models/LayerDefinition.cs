namespace Distributed.Models;

/// <summary>An activation function, by its Keras name in lower case.</summary>
public enum ActivationKind
{
    Linear,
    Relu,
    Tanh,
    Sigmoid,

    /// <summary>Over the last axis. As the last layer's it is fused with the cross-entropy loss.</summary>
    Softmax,
}

/// <summary>How a window treats the image's border, as Keras defines it.</summary>
public enum Padding
{
    /// <summary>Windows lie inside the image: out = (in - size) / stride + 1.</summary>
    Valid,

    /// <summary>Zeros around it so that out = ceil(in / stride); an odd zero goes to the bottom and right.</summary>
    Same,
}

/// <summary>Height and width of a kernel, a window or a stride.</summary>
public readonly record struct Size2D(int Height, int Width)
{
    public override string ToString() => $"({Height}, {Width})";
}

/// <summary>One layer of a model as a user writes it, in Keras' words, before any shape is known.</summary>
public abstract record LayerDefinition
{
    /// <summary>The layer's name if the user gave one; otherwise Keras' numbering names it (conv2d_1).</summary>
    public string? Name { get; init; }
}

/// <summary>2-D cross-correlation with bias: kernel (kh, kw, in, filters), NHWC.</summary>
public sealed record Conv2D(int Filters, Size2D KernelSize, Size2D Strides, Padding Padding, ActivationKind Activation) : LayerDefinition;

public sealed record MaxPooling2D(Size2D PoolSize, Size2D Strides, Padding Padding) : LayerDefinition;

/// <summary>Averages over the part of each window that lies inside the image, as Keras does.</summary>
public sealed record AveragePooling2D(Size2D PoolSize, Size2D Strides, Padding Padding) : LayerDefinition;

/// <summary>To one axis in H, W, C order.</summary>
public sealed record Flatten : LayerDefinition;

/// <summary>y = x W + b: kernel (in, units).</summary>
public sealed record Dense(int Units, ActivationKind Activation) : LayerDefinition;

/// <summary>In training sets a fraction Rate of the values to zero and scales the rest by 1 / (1 - Rate).</summary>
public sealed record Dropout(float Rate) : LayerDefinition;

public sealed record ActivationLayer(ActivationKind Activation) : LayerDefinition;

/// <summary>A model as data: a name and its layers in order. See <see cref="ResolvedModel"/> for shapes.</summary>
public sealed record ModelDefinition(string Name, IReadOnlyList<LayerDefinition> Layers);
