using System.Text;
using CsCheck;
using Distributed.Models;

namespace Distributed.Tests.Models;

public sealed class ModelJsonTests
{
    [Fact]
    public void Write_ThenRead_GivesTheModelBack() => ModelGen.Models.Sample(static model =>
    {
        byte[] json = ModelJson.Write(model);
        ModelDefinition read = ModelJson.Read(json, "test");
        Assert.Equal(model.Name, read.Name);
        Assert.Equal(model.Layers, read.Layers);
        Assert.Equal(json, ModelJson.Write(read));
    });

    [Fact]
    public void Write_BuiltIn_IsCanonical() => Assert.Equal(
        """{"name":"dense","layers":[{"layer":"Flatten"},{"layer":"Dense","units":512,"activation":"relu"},{"layer":"Dense","units":10,"activation":"softmax"}]}""",
        Encoding.UTF8.GetString(ModelJson.Write(BuiltInModels.Dense)));

    [Fact]
    public void Read_ArgumentsLeftOut_HaveKerasDefaults()
    {
        ModelDefinition model = Read("""
            {"layers": [ // a comment
              {"layer": "Conv2D", "filters": 4, "kernel_size": 3},
              {"layer": "MaxPooling2D"},
              {"layer": "AveragePooling2D", "pool_size": [3, 2], "strides": null},
              {"layer": "Dense", "units": 7},
            ]}
            """);
        Assert.Equal("model", model.Name);
        Assert.Equal(
            [
                new Conv2D(4, new(3, 3), new(1, 1), Padding.Valid, ActivationKind.Linear),
                new MaxPooling2D(new(2, 2), new(2, 2), Padding.Valid),
                new AveragePooling2D(new(3, 2), new(3, 2), Padding.Valid),
                new Dense(7, ActivationKind.Linear),
            ],
            model.Layers);
    }

    [Theory]
    [InlineData("""{"layer": "Dense", "units": 5, "activation": "relue"}""", "layers[0].activation: unknown activation 'relue'; did you mean 'relu'? (linear, relu, tanh, sigmoid, softmax)")]
    [InlineData("""{"layer": "Dense", "units": 5, "activation": "Relu"}""", "layers[0].activation: unknown activation 'Relu'; did you mean 'relu'? (linear, relu, tanh, sigmoid, softmax)")]
    [InlineData("""{"layer": "Dense", "units": 5, "activation": 3}""", "layers[0].activation: is 3; expected a word (linear, relu, tanh, sigmoid, softmax)")]
    [InlineData("""{"layer": "Conv2d", "filters": 5}""", "layers[0].layer: unknown layer 'Conv2d'; did you mean 'Conv2D'? (Conv2D, MaxPooling2D, AveragePooling2D, Flatten, Dense, Dropout, Activation)")]
    [InlineData("""{"layer": "LSTM"}""", "layers[0].layer: unknown layer 'LSTM' (Conv2D, MaxPooling2D, AveragePooling2D, Flatten, Dense, Dropout, Activation)")]
    [InlineData("""{"lyaer": "Dense", "units": 5}""", "layers[0].lyaer: unknown; did you mean 'layer'?")]
    [InlineData("""{"units": 5}""", "layers[0]: 'layer' is missing; expected the kind of layer (Conv2D, MaxPooling2D, AveragePooling2D, Flatten, Dense, Dropout, Activation)")]
    [InlineData("""{"layer": "Dense", "unit": 5}""", "layers[0].unit: Dense has no 'unit'; did you mean 'units'? (units, activation, name, layer)")]
    [InlineData("""{"layer": "Flatten", "rate": 5}""", "layers[0].rate: Flatten has no 'rate' (name, layer)")]
    [InlineData("""{"layer": "Dense"}""", "layers[0]: Dense needs 'units', a whole number from 1 to 1,000,000")]
    [InlineData("""{"layer": "Dense", "units": 0}""", "layers[0].units: is 0; expected a whole number from 1 to 1,000,000")]
    [InlineData("""{"layer": "Dense", "units": 1.5}""", "layers[0].units: is 1.5; expected a whole number from 1 to 1,000,000")]
    [InlineData("""{"layer": "Dense", "units": "64"}""", "layers[0].units: is the text \"64\"; expected a whole number from 1 to 1,000,000")]
    [InlineData("""{"layer": "Dense", "units": 99999999999999999999}""", "layers[0].units: is 99999999999999999999; expected a whole number from 1 to 1,000,000")]
    [InlineData("""{"layer": "Dense", "units": 5, "units": 6}""", "layers[0].units: given twice")]
    [InlineData("""{"layer": "Conv2D", "filters": 5, "kernel_size": [3]}""", "layers[0].kernel_size: is the list [3]; expected a whole number from 1 to 10,000, or [height, width]")]
    [InlineData("""{"layer": "Conv2D", "filters": 5, "kernel_size": [3, -1]}""", "layers[0].kernel_size[1]: is -1; expected a whole number from 1 to 10,000")]
    [InlineData("""{"layer": "Conv2D", "filters": 5, "kernel_size": 3, "padding": "sane"}""", "layers[0].padding: unknown padding 'sane'; did you mean 'same'? (valid, same)")]
    [InlineData("""{"layer": "Dropout", "rate": 1}""", "layers[0].rate: is 1; expected a number from 0 to less than 1")]
    [InlineData("""{"layer": "Dropout", "rate": -0.1}""", "layers[0].rate: is -0.1; expected a number from 0 to less than 1")]
    [InlineData("""{"layer": "Activation"}""", "layers[0]: Activation needs 'activation', one of linear, relu, tanh, sigmoid, softmax")]
    [InlineData("""{"layer": "Flatten", "name": "a/b"}""", "layers[0].name: is the text \"a/b\"; expected a name of up to 100 letters, digits, '_', '-' or '.'")]
    [InlineData("""{"layer": "Flatten", "name": "a"}, {"layer": "Flatten", "name": "a"}""", "layers[1].name: 'a' is the name of layers[0] already; names must differ")]
    [InlineData("\"Dense\"", "layers[0]: is the text \"Dense\"; expected an object {...}")]
    [InlineData("", "layers: the model is empty; expected 1 to 1,000 layers")]
    public void Read_WrongLayer_NamesPathAndExpectation(string layers, string message) =>
        AssertFault($$"""{"layers": [{{layers}}]}""", $"model.json: {message}");

    [Theory]
    [InlineData("[]", "model.json: is the list []; expected an object {...}")]
    [InlineData("{}", "model.json: a model needs 'layers', a list")]
    [InlineData("""{"layers": 3}""", "model.json: layers: is 3; expected a list")]
    [InlineData("""{"layer": []}""", "model.json: layer: a model has no 'layer'; did you mean 'layers'? (name, layers)")]
    public void Read_WrongDocument_NamesPathAndExpectation(string json, string message) => AssertFault(json, message);

    [Fact]
    public void Read_SyntaxError_NamesTheLine()
    {
        ConfigurationException fault = Assert.Throws<ConfigurationException>(() => Read("{\n\"layers\": [\n}"));
        Assert.StartsWith("model.json: line 3, byte 1: not valid JSON: ", fault.Message);
        Assert.DoesNotContain('\n', fault.Message);
    }

    [Theory]
    [InlineData(new byte[] { 0xff })]
    [InlineData(new byte[] { (byte)'\\', (byte)'u', (byte)'d', (byte)'8', (byte)'0', (byte)'0' })]
    public void Read_TextThatIsNotUnicode_IsOneLine(byte[] text)
    {
        byte[] json = [.. "{\"name\": \""u8, .. text, .. "\", \"layers\": [{\"layer\": \"Flatten\"}]}"u8];
        ConfigurationException fault = Assert.Throws<ConfigurationException>(() => ModelJson.Read(json, "model.json"));
        Assert.Equal("model.json: a text in it is not valid Unicode", fault.Message);
    }

    [Fact]
    public void Read_AnyBytes_IsModelOrConfigurationFault() => Gen.Byte.Array[0, 60].Sample(static bytes =>
        Assert.Throws<ConfigurationException>(() => ModelJson.Read(bytes, "model.json")));

    [Fact]
    public void Load_UnknownName_SuggestsBuiltIn()
    {
        ConfigurationException fault = Assert.Throws<ConfigurationException>(() => BuiltInModels.Load("convent"));
        Assert.Equal("--model: 'convent' is neither a built-in model (convnet, dense) nor a file; did you mean 'convnet'?", fault.Message);
    }

    [Fact]
    public void Load_File_IsNamedForTheFile()
    {
        string path = Path.Combine(Path.GetTempPath(), $"m y-{Guid.NewGuid():N}.json");
        File.WriteAllText(path, """{"layers": [{"layer": "Flatten"}]}""");
        try
        {
            Assert.Equal(Path.GetFileNameWithoutExtension(path).Replace(" ", ""), BuiltInModels.Load(path).Name);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static ModelDefinition Read(string json) => ModelJson.Read(Encoding.UTF8.GetBytes(json), "model.json");

    private static void AssertFault(string json, string message) => Assert.Equal(message, Assert.Throws<ConfigurationException>(() => Read(json)).Message);
}
