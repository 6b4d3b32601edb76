namespace Distributed.Models;

/// <summary>Shape of one sample between layers: (height, width, channels), or (1, 1, units) once flattened.</summary>
public readonly record struct SampleShape(int Height, int Width, int Channels, bool IsFlat = false)
{
    public int Length => checked(Height * Width * Channels);

    public static SampleShape Flat(int units) => new(1, 1, units, IsFlat: true);

    /// <summary>Keras' form with the batch axis: (None, 26, 26, 32) or (None, 64).</summary>
    public override string ToString() => IsFlat ? $"(None, {Channels})" : $"(None, {Height}, {Width}, {Channels})";
}

/// <summary>One trainable tensor: its Keras name (conv2d_1/kernel), shape and place in the flat parameter array.</summary>
public sealed record ParameterTensor(string Name, int[] Shape, int Offset)
{
    public int Length { get; } = Shape.Aggregate(1, static (product, extent) => checked(product * extent));
}

/// <summary>A layer with everything known: its unique name, shapes and parameters (kernel, then bias; or none).</summary>
public sealed record ResolvedLayer(LayerDefinition Definition, string Name, SampleShape Input, SampleShape Output, IReadOnlyList<ParameterTensor> Parameters);

/// <summary>
/// A model fitted to a data set: every shape known, every parameter placed. All float32 parameters lie in one flat
/// array, layer by layer, kernel before bias, in Keras' shapes (HWIO kernels, input x output dense kernels); this is
/// the order of weights on the wire, in files and under weights_sha256.
/// </summary>
public sealed record ResolvedModel(ModelDefinition Definition, SampleShape Input, int Classes, IReadOnlyList<ResolvedLayer> Layers)
{
    public IReadOnlyList<ParameterTensor> Parameters { get; } = [.. Layers.SelectMany(static layer => layer.Parameters)];

    /// <summary>P, the number of float32 parameters.</summary>
    public int ParameterCount { get; } = Layers.SelectMany(static layer => layer.Parameters).Sum(static tensor => tensor.Length);
}
