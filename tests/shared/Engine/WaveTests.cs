using Distributed.Engine;
using Distributed.Models;
using Distributed.Reduction;

namespace Distributed.Tests.Engine;

/// <summary>Several microbatches at once give the bits of each by itself, added along the tree.</summary>
public sealed class WaveTests
{
    private const int Microbatches = 4;

    /// <summary>Samples in a microbatch of which the models' last layers have more weights.</summary>
    private const int FewSamples = 2;

    private static readonly InstructionSet[] _sets = [InstructionSet.Scalar, InstructionSet.Vector128, InstructionSet.Avx2, InstructionSet.Avx512];

    /// <summary>Samples and additions of each microbatch, and how many microbatches there are in each sum.</summary>
    private static readonly (Microbatch[] Wave, int[] Sums)[] _waves =
    [
        ([new(5, 0), new(5, 1), new(5, 0), new(5, 2)], [4]),
        ([new(2, 0), new(5, 0), new(1, 1)], [1, 2]),
        ([new(4, 0), new(3, 1), new(5, 1)], [3]),
        ([new(1, 0), new(5, 0), new(3, 1), new(2, 2)], [4]),
        ([new(5, 0), new(1, 0), new(5, 0), new(4, 3)], [4]),
        ([new(3, 0), new(4, 0)], [1, 1]),
        ([new(5, 0)], [1]),
    ];

    public static TheoryData<string, int, int, int, int, string> Models => NetworkTests.Models;

    /// <summary>Layers whose passes carry whole waves: input side, channels, the layers.</summary>
    public static TheoryData<int, int, string> Tails { get; } = new()
    {
        { 4, 16, """{"layer":"Conv2D","filters":48,"kernel_size":3,"activation":"relu"}""" },
        { 5, 48, """{"layer":"Conv2D","filters":64,"kernel_size":3,"activation":"relu"}""" },
        { 4, 33, """{"layer":"Conv2D","filters":16,"kernel_size":3,"padding":"same"}""" },
        { 5, 64, """{"layer":"Conv2D","filters":33,"kernel_size":3,"activation":"relu"}""" },
        { 5, 24, """{"layer":"Conv2D","filters":40,"kernel_size":3,"strides":2,"padding":"same","activation":"relu"}""" },
        { 2, 65, """{"layer":"Conv2D","filters":64,"kernel_size":1,"activation":"relu"}""" },
        { 3, 18, """{"layer":"Conv2D","filters":32,"kernel_size":2,"activation":"tanh"},{"layer":"Dropout","rate":0.5},{"layer":"Conv2D","filters":32,"kernel_size":2,"activation":"relu"}""" },
        { 1, 20, """{"layer":"Flatten"},{"layer":"Dense","units":64,"activation":"relu"},{"layer":"Dense","units":17,"activation":"softmax"},{"layer":"Dense","units":31}""" },
    };

    [Theory]
    [MemberData(nameof(Models))]
    public void Train_InAWave_HasTheBitsOfSingleMicrobatches(string name, int height, int width, int channels, int classes, string layers) =>
        AssertSameBits(NetworkCase.Create(name, height, width, channels, classes, layers), FewSamples);

    [Theory]
    [MemberData(nameof(Tails))]
    public void Train_LayersThatTakeWholeWaves_HaveTheBitsOfSingleMicrobatches(int side, int channels, string layers)
    {
        // A first layer with weights, so that the gradient goes on to the input.
        NetworkCase @case = NetworkCase.Create(
            "tail", side, side, 3, 10,
            $$"""{"layer":"Conv2D","filters":{{channels}},"kernel_size":1,"activation":"relu"},{{layers}},{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"softmax"}""");
        AssertSameBits(@case, NetworkCase.Samples);
        using Network network = @case.Compile(InstructionSets.Best, Microbatches);
        Assert.True(network.Compiled.FirstOfWholeWaves <= 1, "the layer takes its microbatches one by one");
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Evaluate_InAWave_HasTheBitsOfSingleMicrobatches(string name, int height, int width, int channels, int classes, string layers)
    {
        NetworkCase @case = NetworkCase.Create(name, height, width, channels, classes, layers);
        foreach (InstructionSet set in _sets)
        {
            using Network one = @case.Compile(set, microbatch: FewSamples), many = @case.Compile(set, Microbatches, FewSamples);
            using Executor single = one.CreateExecutor(), wave = many.CreateExecutor();
            int samples = (Microbatches * FewSamples) - 1;
            (byte[] labels, _) = @case.Draw(samples, wave.Images);
            byte[] expected = new byte[samples], predictions = new byte[samples];
            MicrobatchResult sum = new(0.1, 3);
            for (int first = 0; first < samples; first += one.Microbatch)
            {
                int count = Math.Min(one.Microbatch, samples - first), length = @case.Model.Input.Length;
                wave.Images.Slice(first * length, count * length).CopyTo(single.Images);
                sum = single.Evaluate(labels.AsSpan(first, count), expected.AsSpan(first, count), sum);
            }

            Assert.Equal(sum, wave.Evaluate(labels, predictions, new MicrobatchResult(0.1, 3)));
            Assert.Equal(expected, predictions);
        }
    }

    [Fact]
    public void Train_RoundedToBfloat16_RoundsWhatItAddsAndTheSum()
    {
        NetworkCase @case = NetworkCase.Create("rounded", 1, 1, 12, 10, """{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"softmax"}""");
        (Microbatch[] wave, int[] sums) = _waves[0];
        AssertSameBits(@case, NetworkCase.Samples, InstructionSets.Best, wave, sums, WirePrecision.Bf16);
    }

    [Fact]
    public void Train_InWaves_AllocatesNothing()
    {
        (_, int height, int width, int channels, int classes, string layers) = Models.Last().Data;
        NetworkCase @case = NetworkCase.Create("allocation", height, width, channels, classes, layers);
        using Network network = @case.Compile(InstructionSets.Best, Microbatches);
        using Executor executor = network.CreateExecutor();
        (Microbatch[] wave, int[] sums) = _waves[1];
        GradientSum[] places = [.. sums.Select(count => new GradientSum(count, new VectorBuffer(@case.Model.ParameterCount), new Recorder()))];
        (byte[] labels, int[] numbers) = @case.Draw(wave.Sum(static item => item.Samples), executor.Images);
        // While methods are compiled anew, which happens on the thread that is in their loops, the runtime allocates: what counts is how it ends.
        Assert.Contains(0, Enumerable.Range(0, 30).Select(_ => AllocatedByTen()));

        long AllocatedByTen()
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            for (int i = 0; i < 10; i++)
                executor.Train(wave, places, labels, numbers, NetworkCase.Seed, NetworkCase.Epoch);
            return GC.GetAllocatedBytesForCurrentThread() - before;
        }
    }

    /// <summary>Two with nothing to add to, too many or too few added, sums of more or fewer than there are, and too many at once.</summary>
    [Theory]
    [InlineData(new[] { 1, 0 }, new[] { 2 })]
    [InlineData(new[] { 0, 2 }, new[] { 2 })]
    [InlineData(new[] { 0, -1 }, new[] { 1, 1 })]
    [InlineData(new[] { 0, 0 }, new[] { 2 })]
    [InlineData(new[] { 0, 1 }, new[] { 1, 1 })]
    [InlineData(new[] { 0, 1 }, new[] { 1 })]
    [InlineData(new[] { 0, 1 }, new[] { 2, 1 })]
    [InlineData(new[] { 0, 1 }, new[] { 2, 0 })]
    [InlineData(new[] { 0, 1 }, new[] { -1, 2 })]
    [InlineData(new[] { 0, 1, 0, 2, 0 }, new[] { 4, 1 })]
    [InlineData(new int[0], new int[0])]
    public void Train_AWaveThatMakesNoSums_IsRefused(int[] additions, int[] sums)
    {
        NetworkCase @case = NetworkCase.Create("refused", 1, 1, 12, 10, """{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"softmax"}""");
        using Network network = @case.Compile(InstructionSets.Best, Microbatches);
        using Executor executor = network.CreateExecutor();
        Microbatch[] wave = [.. additions.Select(static count => new Microbatch(1, count))];
        GradientSum[] places = [.. sums.Select(count => new GradientSum(count, new VectorBuffer(@case.Model.ParameterCount), new Recorder()))];
        Assert.Throws<ArgumentException>(() => executor.Train(wave, places, new byte[wave.Length], new int[wave.Length], NetworkCase.Seed, NetworkCase.Epoch));
    }

    [Fact]
    public void Compile_AModelThatWouldTakeTooMuchMemory_MakesSmallerWaves()
    {
        const string Layers = """{"layer":"Conv2D","filters":64,"kernel_size":3,"padding":"same"},{"layer":"AveragePooling2D","pool_size":4},{"layer":"Flatten"},{"layer":"Dense","units":10,"activation":"softmax"}""";
        using Network small = NetworkCase.Create("small", 16, 16, 3, 10, Layers).Compile(InstructionSets.Best, Microbatches);
        using Network large = NetworkCase.Create("large", 160, 160, 3, 10, Layers).Compile(InstructionSets.Best, Microbatches);
        Assert.Equal(Microbatches, small.WaveMicrobatches);
        Assert.InRange(large.WaveMicrobatches, 1, Microbatches - 1);
    }

    private static void AssertSameBits(NetworkCase @case, int microbatch)
    {
        foreach (InstructionSet set in _sets)
        {
            foreach ((Microbatch[] wave, int[] sums) in _waves)
            {
                Microbatch[] fitting = [.. wave.Select(item => item with { Samples = Math.Min(item.Samples, microbatch) })];
                AssertSameBits(@case, microbatch, set, fitting, sums, WirePrecision.Float32);
            }
        }
    }

    private static void AssertSameBits(NetworkCase @case, int microbatch, InstructionSet set, Microbatch[] wave, int[] sums, WirePrecision precision)
    {
        using Network one = @case.Compile(set, microbatch: microbatch), many = @case.Compile(set, Microbatches, microbatch);
        Assert.Equal(Microbatches, many.WaveMicrobatches);
        using Executor single = one.CreateExecutor(), executor = many.CreateExecutor();
        (byte[] labels, int[] numbers) = @case.Draw(wave.Sum(static item => item.Samples), executor.Images);
        Recorder[] recorders = [.. sums.Select(static _ => new Recorder())];
        GradientSum[] places = [.. sums.Zip(recorders, (count, recorder) => new GradientSum(count, new VectorBuffer(@case.Model.ParameterCount), recorder))];
        Queue<Partial> expected = new(Sums());

        executor.Train(wave, places, labels, numbers, NetworkCase.Seed, NetworkCase.Epoch, precision);

        foreach ((GradientSum place, Recorder recorder) in places.Zip(recorders))
        {
            Partial sum = expected.Dequeue();
            Assert.Equal(WeightsHash.Sha256(sum.Gradient.Values), WeightsHash.Sha256(place.Gradient.Values));
            Assert.Equal(many.Compiled.Operations.Reverse().Select(static operation => operation.FirstParameter).OfType<int>(), recorder.Firsts);
            Assert.All(recorder.Results, result => Assert.Equal(new MicrobatchResult(sum.LossSum, sum.Correct), result));
        }

        Assert.Empty(expected);

        // Each microbatch by itself, whole vectors added.
        IEnumerable<Partial> Sums()
        {
            Stack<Partial> waiting = [];
            int first = 0, length = @case.Model.Input.Length;
            foreach (Microbatch item in wave)
            {
                executor.Images.Slice(first * length, item.Samples * length).CopyTo(single.Images);
                Partial partial = new(@case.Model.ParameterCount);
                (partial.LossSum, partial.Correct) = single.Train(
                    labels.AsSpan(first, item.Samples), numbers.AsSpan(first, item.Samples), NetworkCase.Seed, NetworkCase.Epoch, partial.Gradient.Values);
                first += item.Samples;
                for (int i = 0; i < item.Additions; i++)
                {
                    Partial right = partial;
                    partial = waiting.Pop();
                    partial.Add(right, precision);
                }

                waiting.Push(partial);
            }

            return waiting.Reverse();
        }
    }

    private sealed class Recorder : IBackwardObserver
    {
        // Room for all layers of all passes, so that nothing is allocated.
        public List<int> Firsts { get; } = new(10_000);

        public List<MicrobatchResult> Results { get; } = new(10_000);

        public void Complete(in MicrobatchResult result, int first)
        {
            Firsts.Add(first);
            Results.Add(result);
        }
    }
}
