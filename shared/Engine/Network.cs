using Distributed.Models;

namespace Distributed.Engine;

/// <summary>Names one operation of a compiled network and the kernels it runs.</summary>
public readonly record struct OperationDescription(string Layers, string Kernels);

/// <summary>
/// A model compiled for one microbatch size and instruction set: a list of operations over a planned arena. Immutable
/// but for the weights of the step, which <see cref="Prepare"/> packs; any number of <see cref="Executor"/>s then run
/// microbatches on it, one thread each.
/// </summary>
public sealed unsafe class Network : IDisposable
{
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

    /// <summary>The most samples in one pass.</summary>
    public int Microbatch { get; }

    public InstructionSet InstructionSet { get; }

    /// <summary>Which layer got which kernel, in order.</summary>
    public IReadOnlyList<OperationDescription> Operations { get; }

    internal CompiledNetwork Compiled { get; }

    /// <summary>Compiles a model for passes of up to <paramref name="microbatch"/> samples.</summary>
    /// <exception cref="ConfigurationException">The model has nothing to train, or needs more memory than can be addressed.</exception>
    public static Network Compile(ResolvedModel model, int microbatch, InstructionSet instructionSet)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(microbatch, 1);
        try
        {
            return new Network(model, microbatch, instructionSet, instructionSet switch
            {
                InstructionSet.Avx512 => NetworkCompiler<Lanes512>.Compile(model, microbatch),
                InstructionSet.Avx2 => NetworkCompiler<Lanes256>.Compile(model, microbatch),
                InstructionSet.Vector128 => NetworkCompiler<Lanes128>.Compile(model, microbatch),
                _ => NetworkCompiler<ScalarLane>.Compile(model, microbatch),
            });
        }
        catch (OverflowException overflow)
        {
            throw new ConfigurationException($"model '{model.Definition.Name}' needs more than 2^31 values for {microbatch} samples at once; use more shards or a smaller batch", overflow);
        }
    }

    /// <summary>Takes the weights of a step. No executor may be running.</summary>
    /// <param name="parameters">P values in <see cref="ResolvedModel.Parameters"/> order.</param>
    public void Prepare(ReadOnlySpan<float> parameters)
    {
        if (parameters.Length != Model.ParameterCount)
            throw new ArgumentException($"expected {Model.ParameterCount} parameters, not {parameters.Length}", nameof(parameters));
        fixed (float* pointer = parameters)
        {
            foreach (Operation operation in Compiled.Operations)
            {
                operation.PrepareForward(pointer);
                operation.PrepareBackward(pointer);
            }
        }
    }

    /// <summary>The same model compiled once more, for a thread that packs the weights into memory of its own. To be disposed by the caller.</summary>
    public Network Copy() => Compile(Model, Microbatch, InstructionSet);

    /// <summary>A new executor: the memory that one thread needs to run passes. Dispose it before the network.</summary>
    public Executor CreateExecutor() => new(this);

    public void Dispose()
    {
        foreach (Operation operation in Compiled.Operations)
            operation.Dispose();
    }
}
