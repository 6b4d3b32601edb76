using System.Text.Json;

namespace Distributed.Models;

/// <summary>
/// The arguments in one JSON object. Whatever is unknown, given twice, of another type or out of range is refused with
/// "source: path: fault; expectation". A null stands for an argument that is not given, as in Python.
/// </summary>
internal sealed class JsonFields
{
    private readonly Dictionary<string, JsonElement> _values = [];
    private readonly string _source;
    private readonly string _path;
    private readonly string _owner;

    /// <param name="element">Should be an object.</param>
    /// <param name="source">What to call the whole text.</param>
    /// <param name="path">Of the object within it; empty for the root.</param>
    /// <param name="owner">What the object describes: Conv2D.</param>
    /// <param name="known">Every argument it may have.</param>
    public JsonFields(JsonElement element, string source, string path, string owner, string[] known)
    {
        (_source, _path, _owner) = (source, path, owner);
        RequireObject(element, source, path);
        foreach (JsonProperty property in element.EnumerateObject())
        {
            if (!known.Contains(property.Name))
                throw Fault(property.Name, $"{owner} has no '{property.Name}'{Suggestion.For(property.Name, known)} ({string.Join(", ", known)})");
            if (!_values.TryAdd(property.Name, property.Value))
                throw Fault(property.Name, "given twice");
        }
    }

    /// <summary>The kind of layer an object describes.</summary>
    public static string Kind(JsonElement element, string source, string path, IReadOnlyCollection<string> kinds)
    {
        RequireObject(element, source, path);
        string expected = $"({string.Join(", ", kinds)})";
        if (!element.TryGetProperty("layer", out JsonElement layer))
        {
            string? misspelt = element.EnumerateObject().Select(static property => property.Name).FirstOrDefault(static name => Suggestion.Nearest(name, ["layer"]) is not null);
            throw new ConfigurationException(misspelt is null
                ? $"{source}: {path}: 'layer' is missing; expected the kind of layer {expected}"
                : $"{source}: {path}.{misspelt}: unknown; did you mean 'layer'?");
        }

        if (layer.ValueKind != JsonValueKind.String)
            throw new ConfigurationException($"{source}: {path}.layer: {Describe(layer)}; expected the kind of layer {expected}");
        string kind = layer.GetString()!;
        return kinds.Contains(kind) ? kind : throw new ConfigurationException($"{source}: {path}.layer: unknown layer '{kind}'{Suggestion.For(kind, kinds)} {expected}");
    }

    public int Integer(string name, int min, int max) => Whole(Required(name, $"a whole number from {min} to {max:N0}"), name, min, max);

    /// <summary>A number for both, or [height, width], each at least 1.</summary>
    public Size2D Size(string name, int max, Size2D? missing = null)
    {
        string expected = $"a whole number from 1 to {max:N0}, or [height, width]";
        if (Optional(name) is not { } value)
            return missing ?? throw Missing(name, expected);
        if (value.ValueKind == JsonValueKind.Number)
        {
            int both = Whole(value, name, 1, max);
            return new Size2D(both, both);
        }

        if (value.ValueKind != JsonValueKind.Array || value.GetArrayLength() != 2)
            throw Fault(name, $"{Describe(value)}; expected {expected}");
        return new Size2D(Whole(value[0], name + "[0]", 1, max), Whole(value[1], name + "[1]", 1, max));
    }

    public Padding Padding() =>
        Optional("padding") is { } value ? (Padding)Choice("padding", value, "padding", LayerWords.Paddings) : Models.Padding.Valid;

    public ActivationKind Activation() =>
        Optional("activation") is { } value ? (ActivationKind)Choice("activation", value, "activation", LayerWords.Activations) : ActivationKind.Linear;

    public ActivationKind RequiredActivation() =>
        (ActivationKind)Choice("activation", Required("activation", $"one of {string.Join(", ", LayerWords.Activations)}"), "activation", LayerWords.Activations);

    /// <summary>A fraction from 0 to less than 1.</summary>
    public float Rate(string name)
    {
        const string Expected = "a number from 0 to less than 1";
        JsonElement value = Required(name, Expected);
        if (value.ValueKind != JsonValueKind.Number || !value.TryGetSingle(out float rate) || !(rate >= 0 && rate < 1))
            throw Fault(name, $"{Describe(value)}; expected {Expected}");
        return rate;
    }

    /// <summary>A name, or null if none is given.</summary>
    public string? Name(string name)
    {
        if (Optional(name) is not { } value)
            return null;
        string? text = value.ValueKind == JsonValueKind.String ? value.GetString() : null;
        bool isValid = text is { Length: > 0 and <= ModelReader.MaxNameLength }
            && text.All(static c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.');
        return isValid ? text : throw Fault(name, $"{Describe(value)}; expected a name of up to {ModelReader.MaxNameLength} letters, digits, '_', '-' or '.'");
    }

    public JsonElement Array(string name)
    {
        JsonElement value = Required(name, "a list");
        return value.ValueKind == JsonValueKind.Array ? value : throw Fault(name, $"{Describe(value)}; expected a list");
    }

    private static void RequireObject(JsonElement element, string source, string path)
    {
        if (element.ValueKind != JsonValueKind.Object)
            throw new ConfigurationException($"{source}: {(path.Length == 0 ? "" : path + ": ")}{Describe(element)}; expected an object {{...}}");
    }

    private static string Describe(JsonElement value)
    {
        string text = value.GetRawText().ReplaceLineEndings(" ");
        return value.ValueKind switch
        {
            JsonValueKind.Object => "is an object",
            JsonValueKind.Array => $"is the list {Shorten(text)}",
            JsonValueKind.String => $"is the text {Shorten(text)}",
            _ => $"is {Shorten(text)}",
        };

        static string Shorten(string text) => text.Length <= 60 ? text : text[..57] + "...";
    }

    private JsonElement? Optional(string name) =>
        _values.TryGetValue(name, out JsonElement value) && value.ValueKind != JsonValueKind.Null ? value : null;

    private JsonElement Required(string name, string expected) => Optional(name) ?? throw Missing(name, expected);

    private int Whole(JsonElement value, string name, int min, int max) =>
        value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int number) && number >= min && number <= max
            ? number
            : throw Fault(name, $"{Describe(value)}; expected a whole number from {min} to {max:N0}");

    private int Choice(string name, JsonElement value, string what, string[] words)
    {
        string all = $"({string.Join(", ", words)})";
        if (value.ValueKind != JsonValueKind.String)
            throw Fault(name, $"{Describe(value)}; expected a word {all}");
        string word = value.GetString()!;
        int index = System.Array.IndexOf(words, word);
        return index >= 0 ? index : throw Fault(name, $"unknown {what} '{word}'{Suggestion.For(word, words)} {all}");
    }

    private ConfigurationException Missing(string name, string expected) => Fault("", $"{_owner} needs '{name}', {expected}");

    private ConfigurationException Fault(string name, string fault)
    {
        string path = (_path.Length, name.Length) switch
        {
            (0, 0) => "",
            (_, 0) => _path + ": ",
            (0, _) => name + ": ",
            _ => $"{_path}.{name}: ",
        };
        return new ConfigurationException($"{_source}: {path}{fault}");
    }
}
