using System.Text;
using CsCheck;
using Distributed.Models;

namespace Distributed.Tests.Models;

public sealed class ModelResolverTests
{
    private const string End = """{"layer": "Flatten"}, {"layer": "Dense", "units": 10, "activation": "softmax"}""";
    private static readonly SampleShape s_mnist = new(28, 28, 1);

    [Fact]
    public void Resolve_ConvNetOnMnist_HasKerasNamesShapesAndPlaces()
    {
        ResolvedModel model = ModelResolver.Resolve(BuiltInModels.ConvNet, s_mnist, 10);
        Assert.Equal(93_322, model.ParameterCount);
        Assert.Equal(
            ["conv2d_1", "max_pooling2d_1", "conv2d_2", "max_pooling2d_2", "conv2d_3", "flatten_1", "dense_1", "dense_2"],
            model.Layers.Select(static layer => layer.Name));
        Assert.Equal(
            [
                ("conv2d_1/kernel", "3,3,1,32", 0), ("conv2d_1/bias", "32", 288),
                ("conv2d_2/kernel", "3,3,32,64", 320), ("conv2d_2/bias", "64", 18_752),
                ("conv2d_3/kernel", "3,3,64,64", 18_816), ("conv2d_3/bias", "64", 55_680),
                ("dense_1/kernel", "576,64", 55_744), ("dense_1/bias", "64", 92_608),
                ("dense_2/kernel", "64,10", 92_672), ("dense_2/bias", "10", 93_312),
            ],
            model.Parameters.Select(static tensor => (tensor.Name, string.Join(',', tensor.Shape), tensor.Offset)));
    }

    [Fact]
    public void Resolve_DenseOnMnist_Has407050Parameters() =>
        Assert.Equal(407_050, ModelResolver.Resolve(BuiltInModels.Dense, s_mnist, 10).ParameterCount);

    [Fact]
    public void Resolve_SamePaddingAndStrides_HasKerasShapes()
    {
        ResolvedModel model = Resolve($$"""{"layer": "Conv2D", "filters": 4, "kernel_size": [3, 5], "strides": [2, 3], "padding": "same"}, {"layer": "AveragePooling2D", "pool_size": 3, "strides": 2}, {{End}}""");
        Assert.Equal(new(14, 10, 4), model.Layers[0].Output);
        Assert.Equal(new(6, 4, 4), model.Layers[1].Output);
        Assert.Equal(SampleShape.Flat(96), model.Layers[2].Output);
    }

    [Fact]
    public void Resolve_GivenNameThatKerasWouldUse_NumbersPastIt()
    {
        ResolvedModel model = Resolve("""{"layer": "Flatten", "name": "dense_1"}, {"layer": "Dense", "units": 10, "activation": "softmax"}""");
        Assert.Equal(["dense_1", "dense_2"], model.Layers.Select(static layer => layer.Name));
    }

    [Theory]
    [InlineData("""{"layer": "Conv2D", "filters": 1, "kernel_size": 29}, """ + End, "layers[0] (conv2d_1): kernel_size (29, 29) is larger than its input (None, 28, 28, 1); make it smaller or the padding 'same'")]
    [InlineData("""{"layer": "MaxPooling2D", "pool_size": [1, 30]}, """ + End, "layers[0] (max_pooling2d_1): pool_size (1, 30) is larger than its input (None, 28, 28, 1); make it smaller or the padding 'same'")]
    [InlineData("""{"layer": "Dense", "units": 10, "activation": "softmax"}""", "layers[0] (dense_1): Dense needs a flat input, but its input is (None, 28, 28, 1); put a Flatten before it")]
    [InlineData("""{"layer": "Flatten"}, {"layer": "Conv2D", "filters": 1, "kernel_size": 1}""", "layers[1] (conv2d_1): Conv2D needs an image, but its input is flat, (None, 784)")]
    [InlineData("""{"layer": "Flatten"}, {"layer": "AveragePooling2D"}""", "layers[1] (average_pooling2d_1): AveragePooling2D needs an image, but its input is flat, (None, 784)")]
    [InlineData("""{"layer": "Flatten"}, {"layer": "Dense", "units": 12, "activation": "softmax"}""", "layers[1] (dense_1): 12 outputs do not fit the data, which has 10 classes; expected units 10")]
    [InlineData("""{"layer": "Flatten"}, {"layer": "Dense", "units": 10}""", "layers[1] (dense_1): a model must end in a softmax over the classes; expected a last layer Dense of 10 units with activation 'softmax'")]
    [InlineData("""{"layer": "Activation", "activation": "softmax"}""", "layers[0] (activation_1): a model must end in a softmax over the classes; expected a last layer Dense of 10 units with activation 'softmax'")]
    [InlineData("""{"layer": "Flatten"}, {"layer": "Dense", "units": 1000000}, """ + End, "layers[1] (dense_1): brings the model to 785,000,000 parameters, more than 100,000,000")]
    [InlineData("""{"layer": "Conv2D", "filters": 1000000, "kernel_size": 1}, """ + End, "layers[0] (conv2d_1): its output (None, 28, 28, 1000000) has 784,000,000 values a sample, more than 100,000,000")]
    public void Resolve_ModelThatDoesNotFit_NamesLayerAndExpectation(string layers, string message) =>
        Assert.Equal($"model 'test': {message}", Assert.Throws<ConfigurationException>(() => Resolve(layers)).Message);

    [Fact]
    public void Resolve_AnyModel_IsConsistentOrConfigurationFault() => ModelGen.Models.Sample(static model =>
    {
        try
        {
            ResolvedModel resolved = ModelResolver.Resolve(model, new SampleShape(20, 17, 3), 10);
            int next = 0;
            foreach (ParameterTensor tensor in resolved.Parameters)
            {
                Assert.Equal(next, tensor.Offset);
                next += tensor.Length;
            }

            Assert.Equal(next, resolved.ParameterCount);
            Assert.Equal(SampleShape.Flat(10), resolved.Layers[^1].Output);
        }
        catch (ConfigurationException fault)
        {
            Assert.StartsWith($"model '{model.Name}': layers[", fault.Message);
        }
    });

    private static ResolvedModel Resolve(string layers) =>
        ModelResolver.Resolve(ModelJson.Read(Encoding.UTF8.GetBytes($$"""{"name": "test", "layers": [{{layers}}]}"""), "test"), s_mnist, 10);
}
