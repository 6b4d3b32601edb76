using Distributed.Models;

namespace Distributed.Engine;

/// <summary>Names one operation of a compiled network and the kernels it runs.</summary>
public readonly record struct OperationDescription(string Layers, string Kernels);

/// <summary>
/// A model compiled for one microbatch size and instruction set: a list of operations over a planned arena. Immutable
/// but for the weights of the step, which Prepare takes; any number of <see cref="Executor"/>s then run microbatches on it, one
/// thread each.
/// </summary>
/// <remarks>
/// An executor takes several microbatches through the network at once, a wave. What is behind the last pool, where weights are more than
/// what they are multiplied with, then reads its weights once for all of them. A wave changes no bit: the gradients are each microbatch's
/// own, and added as the reduction tree adds them.
/// </remarks>
public sealed unsafe class Network : IDisposable
{
    /// <summary>Microbatches in a wave beyond which more cost more than they save: their planes outgrow a core's caches (measured with 1 MB).</summary>
    public const int LongestUsefulWave = 4;

    /// <summary>
    /// Floats in a thread's arena, 4 MB, beyond which a shorter wave is better: in front of the last pool too much has left the core's caches when
    /// the way back comes to it, and behind it is little to be saved (measured with 1 MB: 13 to 22% slower with 17 and 20 MB).
    /// </summary>
    private const int MostWaveFloats = 1024 * 1024;

    // Weights that a caller does not keep in place.
    private NativeBuffer? _parameters;

    private Network(ResolvedModel model, int microbatch, InstructionSet instructionSet, CompiledNetwork compiled)
    {
        Model = model;
        Microbatch = microbatch;
        InstructionSet = instructionSet;
        Compiled = compiled;
        Operations =
        [
            .. compiled.Operations.Select(static operation => new OperationDescription(operation.Layers, operation.Kernels)),
            new OperationDescription(compiled.LossLayer, compiled.Loss.Kernels),
        ];
    }

    public ResolvedModel Model { get; }

    /// <summary>The most samples in a microbatch.</summary>
    public int Microbatch { get; }

    /// <summary>The most microbatches in a wave: as asked for, or fewer where more would gain nothing or take too much memory.</summary>
    public int WaveMicrobatches => Compiled.WaveMicrobatches;

    /// <summary>The most samples in a wave.</summary>
    public int WaveSamples => Microbatch * WaveMicrobatches;

    public InstructionSet InstructionSet { get; }

    /// <summary>Which layer got which kernel, in order.</summary>
    public IReadOnlyList<OperationDescription> Operations { get; }

    internal CompiledNetwork Compiled { get; }

    /// <summary>Compiles a model for microbatches of up to <paramref name="microbatch"/> samples.</summary>
    /// <param name="waveMicrobatches">The most microbatches that an executor will be given at once.</param>
    /// <exception cref="ConfigurationException">The model has nothing to train, or needs more memory than can be addressed.</exception>
    public static Network Compile(ResolvedModel model, int microbatch, InstructionSet instructionSet, int waveMicrobatches = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(microbatch, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(waveMicrobatches, 1);
        for (; waveMicrobatches > 1; waveMicrobatches /= 2)
        {
            if (TryCompile(waveMicrobatches) is { } waves)
                return waves;
        }

        try
        {
            return Create(1);
        }
        catch (OverflowException overflow)
        {
            throw new ConfigurationException($"model '{model.Definition.Name}' needs more than 2^31 values for {microbatch} samples at once; use more shards or a smaller batch", overflow);
        }

        Network? TryCompile(int microbatches)
        {
            try
            {
                Network network = Create(microbatches);
                if (network.Compiled.ArenaLength <= MostWaveFloats || network.WaveMicrobatches == 1)
                    return network;
                network.Dispose();
                return null;
            }
            catch (OverflowException)
            {
                return null;
            }
        }

        Network Create(int microbatches) => new(model, microbatch, instructionSet, instructionSet switch
        {
            InstructionSet.Avx512 => NetworkCompiler<Lanes512>.Compile(model, microbatch, microbatches),
            InstructionSet.Avx2 => NetworkCompiler<Lanes256>.Compile(model, microbatch, microbatches),
            InstructionSet.Vector128 => NetworkCompiler<Lanes128>.Compile(model, microbatch, microbatches),
            _ => NetworkCompiler<ScalarLane>.Compile(model, microbatch, microbatches),
        });
    }

    /// <summary>Takes a copy of the weights of a step. No executor may be running.</summary>
    /// <param name="parameters">P values in <see cref="ResolvedModel.Parameters"/> order.</param>
    public void Prepare(ReadOnlySpan<float> parameters)
    {
        if (parameters.Length != Model.ParameterCount)
            throw new ArgumentException($"expected {Model.ParameterCount} parameters, not {parameters.Length}", nameof(parameters));
        _parameters ??= new NativeBuffer(Model.ParameterCount);
        parameters.CopyTo(_parameters.Span);
        Prepare(_parameters.Pointer);
    }

    /// <summary>Takes the weights of a step, some of which are read where they are. No executor may be running.</summary>
    /// <param name="parameters">
    /// P values in <see cref="ResolvedModel.Parameters"/> order, best aligned to 64 bytes. They must stay where they are, and as they are, until
    /// the step's last pass is done.
    /// </param>
    public void Prepare(float* parameters)
    {
        foreach (Operation operation in Compiled.Operations)
        {
            operation.PrepareForward(parameters);
            operation.PrepareBackward(parameters);
        }
    }

    /// <summary>The same model compiled once more, for a thread that takes the weights by itself. To be disposed by the caller.</summary>
    public Network Copy() => Compile(Model, Microbatch, InstructionSet, WaveMicrobatches);

    /// <summary>A new executor: the memory that one thread needs to run passes. Dispose it before the network.</summary>
    public Executor CreateExecutor() => new(this);

    public void Dispose()
    {
        foreach (Operation operation in Compiled.Operations)
            operation.Dispose();
        _parameters?.Dispose();
    }
}
