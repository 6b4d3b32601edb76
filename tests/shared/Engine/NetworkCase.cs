using Distributed.Engine;
using Distributed.Models;
using Distributed.Reduction;

namespace Distributed.Tests.Engine;

/// <summary>A model with weights and a microbatch of inputs, drawn from the case's name.</summary>
internal sealed record NetworkCase(ResolvedModel Model, float[] Parameters, float[] Images, byte[] Labels, int[] SampleNumbers)
{
    /// <summary>In <see cref="Images"/>.</summary>
    public const int Samples = 5;

    public const ulong Seed = 7;

    public const int Epoch = 3;

    public double[] Parameters64 => [.. Parameters.Select(static value => (double)value)];

    public double[][] Images64 => [.. Images.Select(static value => (double)value).Chunk(Model.Input.Length)];

    public int[] Labels32 => [.. Labels.Select(static label => (int)label)];

    public static NetworkCase Create(string name, int height, int width, int channels, int classes, string layers)
    {
        ModelDefinition definition = ModelJson.Read(System.Text.Encoding.UTF8.GetBytes($$"""{"name":"test","layers":[{{layers}}]}"""), name);
        ResolvedModel model = ModelResolver.Resolve(definition, new SampleShape(height, width, channels), classes);
        Random random = new(20);
        float[] parameters = ParameterInitializer.Create(model, Seed);
        foreach (ParameterTensor tensor in model.Parameters.Where(static tensor => tensor.Shape.Length == 1))
        {
            // Biases away from zero, so that they count and some units are dead.
            foreach (ref float bias in parameters.AsSpan(tensor.Offset, tensor.Length))
                bias = (random.NextSingle() - 0.5f) / 2;
        }

        float[] images = new float[Samples * model.Input.Length];
        foreach (ref float pixel in images.AsSpan())
            pixel = random.Next(4) == 0 ? 0 : random.Next(256) / 255f;
        return new NetworkCase(
            model, parameters, images, [.. Enumerable.Range(0, Samples).Select(i => (byte)(i * 7 % classes))], [.. Enumerable.Range(0, Samples).Select(static i => i * 1000)]);
    }

    public ReferenceNetwork Reference() => new(Model) { Seed = Seed, Epoch = Epoch };

    /// <summary>With this case's weights, after others that are there no more.</summary>
    public unsafe Network Compile(InstructionSet set, int waveMicrobatches = 1, int microbatch = Samples)
    {
        Network network = Network.Compile(Model, microbatch, set, waveMicrobatches);
        VectorBuffer before = new(Model.ParameterCount);
        before.Values.Fill(1);
        fixed (float* others = before.Values)
            network.Prepare(others);
        before.Values.Fill(float.NaN);
        network.Prepare(Parameters);
        return network;
    }

    /// <summary>Draws more samples than the case has, some of them all zeros, or nearly, as the paper around a digit.</summary>
    /// <param name="images">Receives their images.</param>
    public (byte[] Labels, int[] SampleNumbers) Draw(int samples, Span<float> images)
    {
        Random random = new(samples);
        for (int sample = 0; sample < samples; sample++)
        {
            int zeros = random.Next(1, 5), first = random.Next(3) == 0 ? random.Next(Model.Input.Length + 1) : 0;
            Span<float> image = images.Slice(sample * Model.Input.Length, Model.Input.Length);
            image.Clear();
            foreach (ref float pixel in image[first..])
                pixel = random.Next(4) < zeros - 1 ? 0 : random.Next(256) / 255f;
        }

        return ([.. Enumerable.Range(0, samples).Select(_ => (byte)random.Next(Model.Classes))], [.. Enumerable.Range(0, samples).Select(_ => random.Next(60_000))]);
    }

    public (MicrobatchResult Result, float[] Gradient) Train(InstructionSet set, int samples)
    {
        using Network network = Network.Compile(Model, Samples, set);
        using Executor executor = network.CreateExecutor();
        network.Prepare(Parameters);
        Images.CopyTo(executor.Images);
        float[] gradient = new float[Model.ParameterCount];
        MicrobatchResult result = executor.Train(Labels.AsSpan(0, samples), SampleNumbers.AsSpan(0, samples), Seed, Epoch, gradient);
        return (result, gradient);
    }

    public float[] Probabilities()
    {
        using Network network = Network.Compile(Model, Samples, InstructionSets.Best);
        using Executor executor = network.CreateExecutor();
        network.Prepare(Parameters);
        Images.CopyTo(executor.Images);
        float[] probabilities = new float[Samples * Model.Classes];
        executor.Predict(Samples, probabilities);
        return probabilities;
    }
}
