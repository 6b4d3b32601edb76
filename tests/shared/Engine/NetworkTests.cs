using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Tests.Engine;

/// <summary>Whole networks of every layer kind and awkward shape, held against the double-precision reference.</summary>
public sealed class NetworkTests
{
    private const int Microbatch = NetworkCase.Samples;

    private static readonly InstructionSet[] _sets = [InstructionSet.Scalar, InstructionSet.Vector128, InstructionSet.Avx2, InstructionSet.Avx512];

    /// <summary>Name, input height, width and channels, classes, layers.</summary>
    public static TheoryData<string, int, int, int, int, string> Models { get; } = new()
    {
        { "dense alone", 1, 1, 7, 3, """{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "dense, wide and narrow", 3, 5, 1, 10, """{"layer":"Flatten"},{"layer":"Dense","units":65,"activation":"relu"},{"layer":"Dense","units":17,"activation":"tanh"},{"layer":"Dense","units":10,"activation":"softmax"}""" },
        { "dense with sigmoid, softmax as a layer", 2, 2, 3, 100, """{"layer":"Flatten"},{"layer":"Dense","units":33,"activation":"sigmoid"},{"layer":"Dense","units":100},{"layer":"Activation","activation":"softmax"}""" },
        { "valid convolution, 17 filters", 6, 7, 1, 4, """{"layer":"Conv2D","filters":17,"kernel_size":3,"activation":"relu"},{"layer":"Flatten"},{"layer":"Dense","units":4,"activation":"softmax"}""" },
        { "two convolutions, 3 channels", 7, 6, 3, 5, """{"layer":"Conv2D","filters":16,"kernel_size":[2,3],"activation":"relu"},{"layer":"Conv2D","filters":31,"kernel_size":3,"activation":"linear"},{"layer":"Flatten"},{"layer":"Dense","units":5,"activation":"softmax"}""" },
        { "same padding", 5, 6, 2, 3, """{"layer":"Conv2D","filters":5,"kernel_size":[3,2],"padding":"same","activation":"relu"},{"layer":"Conv2D","filters":6,"kernel_size":5,"padding":"same","activation":"tanh"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "strides beyond and below the kernel", 9, 8, 1, 3, """{"layer":"Conv2D","filters":4,"kernel_size":3,"strides":2,"activation":"relu"},{"layer":"Conv2D","filters":18,"kernel_size":[1,2],"strides":[2,3],"activation":"relu"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "strided, same padding", 8, 7, 2, 3, """{"layer":"Conv2D","filters":4,"kernel_size":3,"strides":2,"padding":"same"},{"layer":"Conv2D","filters":3,"kernel_size":5,"strides":[3,2],"padding":"same","activation":"sigmoid"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "max pooling, odd sizes", 9, 11, 1, 3, """{"layer":"Conv2D","filters":19,"kernel_size":3,"activation":"relu"},{"layer":"MaxPooling2D","pool_size":2},{"layer":"Conv2D","filters":6,"kernel_size":2},{"layer":"MaxPooling2D","pool_size":[2,3],"strides":1},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "max pooling, same padding, overlapping", 7, 7, 3, 3, """{"layer":"Conv2D","filters":8,"kernel_size":1},{"layer":"MaxPooling2D","pool_size":3,"strides":2,"padding":"same"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "average pooling, both paddings", 7, 8, 2, 3, """{"layer":"Conv2D","filters":5,"kernel_size":2},{"layer":"AveragePooling2D","pool_size":2},{"layer":"Conv2D","filters":7,"kernel_size":2,"padding":"same"},{"layer":"AveragePooling2D","pool_size":[3,2],"strides":1,"padding":"same"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "pooling and activation before any weights", 6, 6, 3, 3, """{"layer":"MaxPooling2D","pool_size":2},{"layer":"Activation","activation":"sigmoid"},{"layer":"Dropout","rate":0.3},{"layer":"Conv2D","filters":3,"kernel_size":2,"activation":"relu"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "dropout between and after", 5, 5, 1, 3, """{"layer":"Conv2D","filters":9,"kernel_size":2,"activation":"relu"},{"layer":"Dropout","rate":0.25},{"layer":"Flatten"},{"layer":"Dense","units":20,"activation":"relu"},{"layer":"Dropout","rate":0.5},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "dropout in front of a pool, and behind", 10, 9, 1, 6, """{"layer":"Conv2D","filters":17,"kernel_size":3,"activation":"relu"},{"layer":"MaxPooling2D","pool_size":2},{"layer":"Dropout","rate":0.25},{"layer":"Conv2D","filters":16,"kernel_size":2,"activation":"relu"},{"layer":"Dropout","rate":0.25},{"layer":"MaxPooling2D","pool_size":[3,2]},{"layer":"Flatten"},{"layer":"Dropout","rate":0.5},{"layer":"Dense","units":24,"activation":"relu"},{"layer":"Dense","units":6,"activation":"softmax"}""" },
        { "activations as layers, softmax inside", 4, 4, 2, 3, """{"layer":"Conv2D","filters":5,"kernel_size":2},{"layer":"Activation","activation":"relu"},{"layer":"Conv2D","filters":6,"kernel_size":1,"activation":"softmax"},{"layer":"Activation","activation":"tanh"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""" },
        { "the card's network, small", 18, 18, 1, 10, """{"layer":"Conv2D","filters":16,"kernel_size":3,"activation":"relu"},{"layer":"MaxPooling2D","pool_size":2},{"layer":"Conv2D","filters":32,"kernel_size":3,"activation":"relu"},{"layer":"MaxPooling2D","pool_size":2},{"layer":"Conv2D","filters":24,"kernel_size":3,"activation":"relu"},{"layer":"Flatten"},{"layer":"Dense","units":64,"activation":"relu"},{"layer":"Dense","units":10,"activation":"softmax"}""" },
    };

    [Theory]
    [MemberData(nameof(Models))]
    public void Train_AnyModel_AgreesWithReference(string name, int height, int width, int channels, int classes, string layers)
    {
        NetworkCase @case = NetworkCase.Create(name, height, width, channels, classes, layers);
        (double loss, double[] gradient) = @case.Reference().Train(@case.Parameters64, @case.Images64, @case.Labels32, @case.SampleNumbers);
        (MicrobatchResult result, float[] actual) = @case.Train(InstructionSets.Best, Microbatch);

        Assert.Equal(loss, result.LossSum, tolerance: 1e-5 * Math.Abs(loss));
        AssertClose(@case.Model, gradient, actual);
    }

    [Theory]
    [MemberData(nameof(Models))]
    public void Train_AnyInstructionSet_HasTheSameBits(string name, int height, int width, int channels, int classes, string layers)
    {
        NetworkCase @case = NetworkCase.Create(name, height, width, channels, classes, layers);
        for (int samples = 1; samples <= Microbatch; samples += 2)
        {
            (MicrobatchResult result, float[] gradient) = @case.Train(InstructionSet.Scalar, samples);
            foreach (InstructionSet set in _sets)
            {
                (MicrobatchResult other, float[] otherGradient) = @case.Train(set, samples);
                Assert.Equal(result, other);
                Assert.Equal(WeightsHash.Sha256(gradient), WeightsHash.Sha256(otherGradient));
            }
        }
    }

    /// <summary>
    /// The reference's own gradients by central differences, h = 1e-5 in double precision: their error is of the order of
    /// h^2 and the rounding of the loss over h, together well below 1e-6 of the largest gradient unless a kink (of relu or
    /// of the maximum) lies within h, which the seed avoids.
    /// </summary>
    [Theory]
    [MemberData(nameof(Models))]
    public void Reference_AnyModel_AgreesWithFiniteDifferences(string name, int height, int width, int channels, int classes, string layers)
    {
        const double H = 1e-5;
        NetworkCase @case = NetworkCase.Create(name, height, width, channels, classes, layers);
        ReferenceNetwork reference = @case.Reference();
        double[] parameters = @case.Parameters64;
        (_, double[] gradient) = reference.Train(parameters, @case.Images64, @case.Labels32, @case.SampleNumbers);
        double scale = gradient.Max(Math.Abs);
        int stride = Math.Max(1, parameters.Length / 60);
        for (int i = 0; i < parameters.Length; i += stride)
        {
            double value = parameters[i];
            parameters[i] = value + H;
            double above = reference.Loss(parameters, @case.Images64, @case.Labels32, @case.SampleNumbers);
            parameters[i] = value - H;
            double below = reference.Loss(parameters, @case.Images64, @case.Labels32, @case.SampleNumbers);
            parameters[i] = value;
            Assert.Equal((above - below) / (2 * H), gradient[i], tolerance: 1e-6 * scale);
        }
    }

    [Fact]
    public void Train_ManyTimes_AllocatesNothing()
    {
        (_, int height, int width, int channels, int classes, string layers) = Models.Last().Data;
        NetworkCase @case = NetworkCase.Create("allocation", height, width, channels, classes, layers);
        using Network network = Network.Compile(@case.Model, Microbatch, InstructionSets.Best);
        using Executor executor = network.CreateExecutor();
        float[] gradient = new float[@case.Model.ParameterCount];
        byte[] predictions = new byte[Microbatch];
        Step();
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 10; i++)
            Step();
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        void Step()
        {
            network.Prepare(@case.Parameters);
            executor.Train(@case.Labels, @case.SampleNumbers, NetworkCase.Seed, NetworkCase.Epoch, gradient);
            executor.Evaluate(@case.Labels, predictions);
        }
    }

    [Fact]
    public void Evaluate_WithDropout_LeavesEverythingIn()
    {
        NetworkCase @case = NetworkCase.Create("dropout", 3, 3, 1, 3, """{"layer":"Flatten"},{"layer":"Dropout","rate":0.5},{"layer":"Dense","units":3,"activation":"softmax"}""");
        NetworkCase without = NetworkCase.Create("none", 3, 3, 1, 3, """{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""");
        Assert.Equal(without.Probabilities(), (@case with { Parameters = without.Parameters }).Probabilities());
    }

    [Fact]
    public void Train_NotANumberInWeights_ReachesTheGradient()
    {
        NetworkCase @case = NetworkCase.Create("nan", 6, 6, 1, 3, """{"layer":"Conv2D","filters":4,"kernel_size":3,"activation":"relu"},{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""");
        @case.Parameters[0] = float.NaN;
        foreach (InstructionSet set in _sets)
        {
            (MicrobatchResult result, float[] gradient) = @case.Train(set, Microbatch);
            Assert.True(double.IsNaN(result.LossSum));
            Assert.Contains(gradient, float.IsNaN);
        }
    }

    [Fact]
    public void Train_LabelBeyondTheClasses_IsRefused()
    {
        NetworkCase @case = NetworkCase.Create("labels", 2, 2, 1, 3, """{"layer":"Flatten"},{"layer":"Dense","units":3,"activation":"softmax"}""");
        @case.Labels[1] = 3;
        Assert.Throws<ArgumentException>(() => @case.Train(InstructionSets.Best, Microbatch));
    }

    /// <summary>
    /// 1e-5 of the tensor's largest gradient: sums of up to a few thousand float32 products round to about 1e-6 of their
    /// largest terms, and single small gradients are differences of such sums.
    /// </summary>
    private static void AssertClose(ResolvedModel model, double[] expected, float[] actual)
    {
        foreach (ParameterTensor tensor in model.Parameters)
        {
            double scale = expected.AsSpan(tensor.Offset, tensor.Length).ToArray().Max(Math.Abs);
            for (int i = tensor.Offset; i < tensor.Offset + tensor.Length; i++)
            {
                if (!(Math.Abs(expected[i] - actual[i]) <= (1e-5 * scale) + 1e-9))
                    Assert.Fail($"{tensor.Name}[{i - tensor.Offset}]: expected {expected[i]}, got {actual[i]} (largest {scale})");
            }
        }
    }
}
