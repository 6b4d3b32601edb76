using System.Text;
using System.Text.Json;
using BenchmarkDotNet.Attributes;
using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Benchmarks;

/// <summary>
/// Networks unlike the built-in ones: packing, then forward, loss and backward of 64 images in microbatches of 8, without
/// the update. pytorch_shapes.py times the same networks.
/// </summary>
public class Shapes
{
    private const int BatchSize = 64;
    private const int Microbatch = 8;

    private static readonly Dictionary<string, JsonElement> _shapes =
        JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "shapes.json"))).RootElement
            .EnumerateArray().ToDictionary(static shape => shape.GetProperty("name").GetString()!);

    private readonly byte[] _labels = new byte[Microbatch];
    private readonly int[] _sampleNumbers = [.. Enumerable.Range(0, Microbatch)];
    private Network _network = null!;
    private Executor _executor = null!;
    private float[] _images = null!, _parameters = null!, _gradient = null!;

    public static IEnumerable<string> Names => _shapes.Keys;

    [ParamsSource(nameof(Names))]
    public string Shape { get; set; } = "";

    [GlobalSetup]
    public void Setup()
    {
        JsonElement shape = _shapes[Shape];
        int[] input = [.. shape.GetProperty("input").EnumerateArray().Select(static extent => extent.GetInt32())];
        int classes = shape.GetProperty("classes").GetInt32();
        ModelDefinition definition = ModelJson.Read(Encoding.UTF8.GetBytes($$"""{"layers":{{shape.GetProperty("layers").GetRawText()}}}"""), "shapes.json", "shape");
        ResolvedModel model = ModelResolver.Resolve(definition, new SampleShape(input[0], input[1], input[2]), classes);
        _network = Network.Compile(model, Microbatch, InstructionSets.Best);
        _executor = _network.CreateExecutor();
        _parameters = ParameterInitializer.Create(model, 1);
        _gradient = new float[model.ParameterCount];
        Random random = new(1);
        _images = new float[BatchSize * model.Input.Length];
        foreach (ref float pixel in _images.AsSpan())
            pixel = random.NextSingle();
        for (int i = 0; i < Microbatch; i++)
            _labels[i] = (byte)(i % classes);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _executor.Dispose();
        _network.Dispose();
    }

    [Benchmark]
    public void Train()
    {
        _network.Prepare(_parameters);
        int length = _executor.Images.Length;
        for (int first = 0; first < _images.Length; first += length)
        {
            _images.AsSpan(first, length).CopyTo(_executor.Images);
            _executor.Train(_labels, _sampleNumbers, seed: 1, epoch: 0, _gradient);
        }
    }
}
