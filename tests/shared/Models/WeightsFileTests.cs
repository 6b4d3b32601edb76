using System.Buffers.Binary;
using System.Text;
using CsCheck;
using Distributed.Models;

namespace Distributed.Tests.Models;

public sealed class WeightsFileTests : IDisposable
{
    private static readonly ResolvedModel s_model = ModelResolver.Resolve(BuiltInModels.Dense, new SampleShape(6, 5, 1), 10);
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("weights-");

    private string Target => Path.Combine(_directory.FullName, "model.safetensors");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public void Write_ThenRead_GivesModelAndBitsBack()
    {
        float[] parameters = Write();
        WeightsFile read = WeightsFile.Read(Target);
        Assert.Equal(parameters, read.Parameters);
        Assert.Equal("mnist", read.Dataset);
        Assert.Equal((s_model.Input, s_model.Classes), (read.Model.Input, read.Model.Classes));
        Assert.Equal(s_model.Definition.Layers, read.Model.Definition.Layers);
    }

    [Fact]
    public void Write_Always_FollowsTheFormat()
    {
        float[] parameters = Write();
        byte[] content = File.ReadAllBytes(Target);
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(content);
        Assert.Equal(0, (8 + length) % 64);
        Assert.Equal(content.Length, 8 + length + (4 * parameters.Length));
        string header = Encoding.UTF8.GetString(content, 8, length);
        Assert.StartsWith("{\"__metadata__\":{", header);
        Assert.Contains("\"dense_1/kernel\":{\"dtype\":\"F32\",\"shape\":[30,512],\"data_offsets\":[0,61440]}", header);
        Assert.Equal(parameters[1], BinaryPrimitives.ReadSingleLittleEndian(content.AsSpan(8 + length + 4)));
    }

    [Fact]
    public void Read_MissingFile_IsOneLine() => AssertFault("no such file");

    [Theory]
    [InlineData(4, "not a usable safetensors file: truncated within the length of its header")]
    [InlineData(200, "not a usable safetensors file: truncated within its header")]
    [InlineData(-1, "not a usable safetensors file: truncated: tensor 'dense_2/bias'")]
    public void Read_TruncatedFile_IsOneLine(int length, string fault)
    {
        Write();
        byte[] content = File.ReadAllBytes(Target);
        File.WriteAllBytes(Target, content[..(length < 0 ? content.Length + length : length)]);
        AssertFault(fault);
    }

    [Fact]
    public void Read_AnyDamage_IsFileOrConfigurationFault()
    {
        Write();
        byte[] content = File.ReadAllBytes(Target);
        int header = 8 + (int)BinaryPrimitives.ReadInt64LittleEndian(content);
        Gen.Select(Gen.Int[0, header - 1], Gen.Byte).Sample(
            (position, value) =>
            {
                byte[] damaged = [.. content];
                damaged[position] = value;
                File.WriteAllBytes(Target, damaged);
                try
                {
                    WeightsFile.Read(Target);
                }
                catch (ConfigurationException fault)
                {
                    Assert.DoesNotContain('\n', fault.Message);
                }
            },
            iter: 1000,
            threads: 1);
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,4]}}""", "tensor 'a' is of type F16; expected F32")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "tensor 'a' has the offsets 0 to 4, which do not fit its shape (2)")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967295,4294967295,4294967295],"data_offsets":[0,4]}}""", "tensor 'a' has the offsets 0 to 4, which do not fit its shape (4294967295, 4294967295, 4294967295)")]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "truncated: tensor 'a' ends at byte 8 of the values, there are 4")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "tensor 'b' overlaps another at offset 0")]
    [InlineData("""{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}""", "tensor 'a' follows a gap at offset 4")]
    [InlineData("{}", "4 bytes follow the last tensor")]
    [InlineData("""{"a":{"dtype":"F32"}}""", "tensor 'a' does not have dtype, shape and data_offsets")]
    [InlineData("""{"a":3}""", "tensor 'a' does not have dtype, shape and data_offsets")]
    [InlineData("""{"__metadata__":{"a":3}}""", "its __metadata__ is not an object of texts")]
    [InlineData("[]", "its header is not a JSON object")]
    [InlineData("{", "its header is not valid JSON")]
    public void Read_WrongHeader_IsOneLine(string header, string fault)
    {
        byte[] content = new byte[8 + header.Length + 4];
        BinaryPrimitives.WriteInt64LittleEndian(content, header.Length);
        Encoding.UTF8.GetBytes(header, content.AsSpan(8));
        File.WriteAllBytes(Target, content);
        AssertFault("not a usable safetensors file: " + fault);
    }

    [Fact]
    public void Read_ForeignFile_NamesWhatIsMissing()
    {
        SafetensorsFile.Write(Target, new Dictionary<string, string>(), [new("a", [1], new float[1])]);
        AssertFault("its metadata holds no 'model'; expected a file that training wrote");
    }

    [Fact]
    public void Read_TensorMissingUnknownOrOfAnotherShape_IsNamed()
    {
        Write();
        SafetensorsFile good = SafetensorsFile.Read(Target);
        SafetensorsFile.Write(Target, good.Metadata, [.. good.Tensors.Skip(1)]);
        AssertFault("tensor 'dense_1/kernel' is missing");
        SafetensorsFile.Write(Target, good.Metadata, [.. good.Tensors, new("extra", [1], new float[1])]);
        AssertFault("tensor 'extra' is not one of the model's");
        SafetensorsFile.Write(Target, good.Metadata, [good.Tensors[0] with { Shape = [512, 30] }, .. good.Tensors.Skip(1)]);
        AssertFault("tensor 'dense_1/kernel' has the shape (512, 30); expected (30, 512)");
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void Read_ValueThatIsNotFinite_IsRefused(float value)
    {
        float[] parameters = ParameterInitializer.Create(s_model, 1);
        parameters[^1] = value;
        WeightsFile.Write(Target, s_model, "mnist", parameters);
        AssertFault($"tensor 'dense_2/bias' holds the value {value}; weights must be finite");
    }

    [Fact]
    public void Sha256_OfKnownValues_IsOfLittleEndianBytes() =>
        // printf '\0\0\x80\x3f\0\0\0\xc0' | sha256sum
        Assert.Equal("ee4ac73c2bd27756ab82780f27c73a7bc4d3f0bb6acb37e008bc27eccd7e588b", WeightsHash.Sha256([1f, -2f]));

    private float[] Write()
    {
        float[] parameters = ParameterInitializer.Create(s_model, 1);
        WeightsFile.Write(Target, s_model, "mnist", parameters);
        return parameters;
    }

    private void AssertFault(string fault) => Assert.StartsWith($"{Target}: {fault}", Assert.Throws<ConfigurationException>(() => WeightsFile.Read(Target)).Message);
}
