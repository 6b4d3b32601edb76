namespace Distributed.Models;

/// <summary>Fits a model to a data set: names, shapes and places of parameters, or why it does not fit.</summary>
public static class ModelResolver
{
    /// <summary>Most parameters that a model may have.</summary>
    public const int MaxParameters = 100_000_000;

    /// <summary>Most values that one sample may have between two layers.</summary>
    public const int MaxActivations = 100_000_000;

    /// <summary>Resolves a model for images of a size and a number of classes.</summary>
    /// <exception cref="ConfigurationException">It does not fit: one line with the layer's place and what was expected.</exception>
    public static ResolvedModel Resolve(ModelDefinition model, SampleShape input, int classes)
    {
        if (model.Layers.Count == 0)
            throw new ConfigurationException($"model '{model.Name}': layers: the model is empty");
        HashSet<string> taken = [.. model.Layers.Select(static layer => layer.Name).OfType<string>()];
        Dictionary<string, int> numbers = [];
        List<ResolvedLayer> layers = [];
        SampleShape shape = input;
        long parameters = 0;
        for (int i = 0; i < model.Layers.Count; i++)
        {
            LayerDefinition definition = model.Layers[i];
            string name = definition.Name ?? NextName(LayerWords.NameStem(definition));
            string where = $"model '{model.Name}': layers[{i}] ({name})";
            SampleShape output = Output(definition, shape, where);
            ParameterTensor[] tensors = Tensors(definition, name, shape, ref parameters, where);
            layers.Add(new ResolvedLayer(definition, name, shape, output, tensors));
            shape = output;
        }

        CheckEnd(model, layers[^1], classes);
        return new ResolvedModel(model, input, classes, layers);

        string NextName(string stem)
        {
            string name;
            do
                name = $"{stem}_{numbers[stem] = numbers.GetValueOrDefault(stem) + 1}";
            while (taken.Contains(name));
            return name;
        }
    }

    private static SampleShape Output(LayerDefinition layer, SampleShape input, string where)
    {
        switch (layer)
        {
            case Conv2D conv:
                return Windows(input, conv.KernelSize, conv.Strides, conv.Padding, conv.Filters, "kernel_size", "Conv2D", where);
            case MaxPooling2D pool:
                return Windows(input, pool.PoolSize, pool.Strides, pool.Padding, input.Channels, "pool_size", "MaxPooling2D", where);
            case AveragePooling2D pool:
                return Windows(input, pool.PoolSize, pool.Strides, pool.Padding, input.Channels, "pool_size", "AveragePooling2D", where);
            case Flatten:
                return SampleShape.Flat(input.Length);
            case Dense dense:
                // Keras would apply it to the last axis of an image, which is hardly ever what was meant.
                return input.IsFlat
                    ? SampleShape.Flat(dense.Units)
                    : throw new ConfigurationException($"{where}: Dense needs a flat input, but its input is {input}; put a Flatten before it");
            default:
                return input;
        }
    }

    private static SampleShape Windows(
        SampleShape input, Size2D size, Size2D strides, Padding padding, int channels, string argument, string kind, string where)
    {
        if (input.IsFlat)
            throw new ConfigurationException($"{where}: {kind} needs an image, but its input is flat, {input}");
        if (padding == Padding.Valid && (size.Height > input.Height || size.Width > input.Width))
            throw new ConfigurationException($"{where}: {argument} {size} is larger than its input {input}; make it smaller or the padding 'same'");
        int height = Extent(input.Height, size.Height, strides.Height);
        int width = Extent(input.Width, size.Width, strides.Width);
        long length = (long)height * width * channels;
        if (length > MaxActivations)
            throw new ConfigurationException($"{where}: its output (None, {height}, {width}, {channels}) has {length:N0} values a sample, more than {MaxActivations:N0}");
        return new SampleShape(height, width, channels);

        int Extent(int extent, int window, int stride) =>
            padding == Padding.Same ? ((extent - 1) / stride) + 1 : ((extent - window) / stride) + 1;
    }

    private static ParameterTensor[] Tensors(LayerDefinition layer, string name, SampleShape input, ref long total, string where)
    {
        (int[] kernel, int outputs) = layer switch
        {
            Conv2D conv => (new[] { conv.KernelSize.Height, conv.KernelSize.Width, input.Channels, conv.Filters }, conv.Filters),
            Dense dense => ([input.Channels, dense.Units], dense.Units),
            _ => ([], 0),
        };
        if (kernel.Length == 0)
            return [];
        UInt128 added = (UInt128)outputs;
        UInt128 product = 1;
        foreach (int extent in kernel)
            product *= (UInt128)extent;
        added += product;
        if (added + (UInt128)total > MaxParameters)
            throw new ConfigurationException($"{where}: brings the model to {added + (UInt128)total:N0} parameters, more than {MaxParameters:N0}");
        int offset = (int)total;
        total += (long)added;
        return [new ParameterTensor(name + "/kernel", kernel, offset), new ParameterTensor(name + "/bias", [outputs], offset + (int)product)];
    }

    private static void CheckEnd(ModelDefinition model, ResolvedLayer last, int classes)
    {
        string where = $"model '{model.Name}': layers[{model.Layers.Count - 1}] ({last.Name})";
        ActivationKind? activation = last.Definition switch
        {
            Dense dense => dense.Activation,
            ActivationLayer layer => layer.Activation,
            _ => null,
        };
        if (activation != ActivationKind.Softmax || !last.Output.IsFlat)
            throw new ConfigurationException($"{where}: a model must end in a softmax over the classes; expected a last layer Dense of {classes} units with activation 'softmax'");
        if (last.Output.Channels != classes)
            throw new ConfigurationException($"{where}: {last.Output.Channels} outputs do not fit the data, which has {classes} classes; expected units {classes}");
    }
}
