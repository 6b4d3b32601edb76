using System.Text.Json;

namespace Distributed.Models;

/// <summary>From JSON to a <see cref="ModelDefinition"/>: every layer and argument known, of its type and in its range.</summary>
internal static class ModelReader
{
    internal const int MaxLayers = 1000;
    internal const int MaxNameLength = 100;
    private const int MaxUnits = 1_000_000;
    private const int MaxWindow = 10_000;

    private static readonly Dictionary<string, LayerForm> s_forms = new()
    {
        ["Conv2D"] = new(["filters", "kernel_size", "strides", "padding", "activation"], static fields => new Conv2D(
            fields.Integer("filters", 1, MaxUnits),
            fields.Size("kernel_size", MaxWindow),
            fields.Size("strides", MaxWindow, new Size2D(1, 1)),
            fields.Padding(),
            fields.Activation())),
        ["MaxPooling2D"] = new(["pool_size", "strides", "padding"], static fields => Pooling(fields, static (s, t, p) => new MaxPooling2D(s, t, p))),
        ["AveragePooling2D"] = new(["pool_size", "strides", "padding"], static fields => Pooling(fields, static (s, t, p) => new AveragePooling2D(s, t, p))),
        ["Flatten"] = new([], static _ => new Flatten()),
        ["Dense"] = new(["units", "activation"], static fields => new Dense(fields.Integer("units", 1, MaxUnits), fields.Activation())),
        ["Dropout"] = new(["rate"], static fields => new Dropout(fields.Rate("rate"))),
        ["Activation"] = new(["activation"], static fields => new ActivationLayer(fields.RequiredActivation())),
    };

    public static ModelDefinition Read(JsonElement root, string source, string defaultName)
    {
        JsonFields model = new(root, source, "", "a model", ["name", "layers"]);
        string name = model.Name("name") ?? defaultName;
        JsonElement layers = model.Array("layers");
        int count = layers.GetArrayLength();
        if (count is 0 or > MaxLayers)
            throw new ConfigurationException($"{source}: layers: {(count == 0 ? "the model is empty" : $"{count:N0} layers")}; expected 1 to {MaxLayers:N0} layers");

        List<LayerDefinition> definitions = [];
        Dictionary<string, int> names = [];
        foreach (JsonElement layer in layers.EnumerateArray())
        {
            int index = definitions.Count;
            LayerDefinition definition = ReadLayer(layer, source, $"layers[{index}]");
            if (definition.Name is { } given && !names.TryAdd(given, index))
                throw new ConfigurationException($"{source}: layers[{index}].name: '{given}' is the name of layers[{names[given]}] already; names must differ");
            definitions.Add(definition);
        }

        return new ModelDefinition(name, definitions);
    }

    private static LayerDefinition ReadLayer(JsonElement element, string source, string path)
    {
        string kind = JsonFields.Kind(element, source, path, s_forms.Keys);
        LayerForm form = s_forms[kind];
        JsonFields fields = new(element, source, path, kind, [.. form.Arguments, "name", "layer"]);
        return form.Create(fields) with { Name = fields.Name("name") };
    }

    private static LayerDefinition Pooling(JsonFields fields, Func<Size2D, Size2D, Padding, LayerDefinition> create)
    {
        Size2D size = fields.Size("pool_size", MaxWindow, new Size2D(2, 2));
        return create(size, fields.Size("strides", MaxWindow, size), fields.Padding());
    }

    /// <summary>What may stand in one kind of layer, and how to make it.</summary>
    private sealed record LayerForm(string[] Arguments, Func<JsonFields, LayerDefinition> Create);
}
