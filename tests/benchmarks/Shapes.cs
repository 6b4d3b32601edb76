using System.Text;
using System.Text.Json;
using BenchmarkDotNet.Attributes;
using Distributed.Engine;
using Distributed.Models;
using Distributed.Reduction;

namespace Distributed.Benchmarks;

/// <summary>
/// Networks unlike the built-in ones: packing, then forward, loss and backward of 64 images in microbatches of 8, up to four of
/// them in a wave and added there, without the update. pytorch_shapes.py times the same networks.
/// </summary>
public class Shapes
{
    private const int BatchSize = 64;
    private const int Size = 8;

    // Four siblings, as much as a wave has at most.
    private static readonly int[] _additions = [0, 1, 0, 2];

    private static readonly Dictionary<string, JsonElement> _shapes =
        JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "shapes.json"))).RootElement
            .EnumerateArray().ToDictionary(static shape => shape.GetProperty("name").GetString()!);

    private readonly byte[] _labels = new byte[BatchSize];
    private readonly int[] _sampleNumbers = [.. Enumerable.Range(0, BatchSize)];
    private Network _network = null!;
    private Executor _executor = null!;
    private Microbatch[] _wave = null!;
    private GradientSum[] _sums = null!;
    private float[] _images = null!;
    private VectorBuffer _parameters = null!;

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
        _network = Network.Compile(model, Size, InstructionSets.Best, _additions.Length);
        _executor = _network.CreateExecutor();
        _parameters = new VectorBuffer(model.ParameterCount);
        ParameterInitializer.Create(model, 1).CopyTo(_parameters.Values);
        _wave = [.. _additions.Take(_network.WaveMicrobatches).Select(static additions => new Microbatch(Size, additions))];
        _sums = [new GradientSum(_wave.Length, new VectorBuffer(model.ParameterCount))];
        Random random = new(1);
        _images = new float[BatchSize * model.Input.Length];
        foreach (ref float pixel in _images.AsSpan())
            pixel = random.NextSingle();
        for (int i = 0; i < BatchSize; i++)
            _labels[i] = (byte)(i % classes);
    }

    [GlobalCleanup]
    public void Cleanup()
    {
        _executor.Dispose();
        _network.Dispose();
    }

    [Benchmark]
    public unsafe void Train()
    {
        fixed (float* parameters = _parameters.Values)
            _network.Prepare(parameters);
        int length = _executor.Images.Length, samples = _network.WaveSamples;
        for (int first = 0; first < _images.Length; first += length)
        {
            _images.AsSpan(first, length).CopyTo(_executor.Images);
            _executor.Train(_wave, _sums, _labels.AsSpan(0, samples), _sampleNumbers.AsSpan(0, samples), seed: 1, epoch: 0);
        }
    }
}
