using Distributed.Engine;

namespace Distributed.Optimizers;

/// <summary>One of the moving averages that an optimizer keeps.</summary>
/// <param name="Name">Keras' name for it.</param>
/// <param name="Values">One for each parameter: the optimizer's own memory.</param>
public sealed record OptimizerVector(string Name, Memory<float> Values);

/// <summary>
/// Turns the summed gradient of a step into new weights. Every operation is rounded as IEEE 754 says and no element
/// meets another, so the result is the same at every vector width.
/// </summary>
public abstract unsafe class Optimizer
{
    /// <summary>
    /// Moving averages below this are taken as it (or as zero): further down they would become denormal numbers, which
    /// are slow, and no digit of a float32 weight depends on them.
    /// </summary>
    internal const float Floor = 1e-30f;

    private readonly int _parameterCount;

    private protected Optimizer(int parameterCount) => _parameterCount = parameterCount;

    /// <exception cref="ConfigurationException">An argument is out of range.</exception>
    public static Optimizer Create(OptimizerSettings settings, int parameterCount)
    {
        settings.Validate();
        return settings.Kind switch
        {
            OptimizerKind.Rmsprop => new Rmsprop(settings, parameterCount),
            OptimizerKind.Sgd => new Sgd(settings, parameterCount),
            OptimizerKind.Adam => new Adam(settings, parameterCount),
            _ => throw new ArgumentOutOfRangeException(nameof(settings)),
        };
    }

    /// <summary>One whole step, on the caller's thread.</summary>
    /// <param name="parameters">P weights, updated in place.</param>
    /// <param name="gradientSum">P gradients, summed over the step's samples.</param>
    /// <param name="samples">How many samples that was: the divisor that makes the mean.</param>
    public void Update(Span<float> parameters, ReadOnlySpan<float> gradientSum, int samples)
    {
        BeginStep();
        UpdateRange(parameters, gradientSum, samples, 0, _parameterCount);
    }

    /// <summary>Begins a step whose weights <see cref="UpdateRange"/> then updates.</summary>
    public virtual void BeginStep()
    {
    }

    /// <summary>
    /// The weights [first, end) of a step that has begun. Several threads may do different ranges at once: no element meets
    /// another, so how they are divided changes no bit.
    /// </summary>
    /// <param name="parameters">All P weights.</param>
    /// <param name="gradientSum">All P gradients.</param>
    /// <param name="samples">As for <see cref="Update(Span{float}, ReadOnlySpan{float}, int)"/>.</param>
    /// <param name="first">From 0.</param>
    /// <param name="end">At most P.</param>
    public void UpdateRange(Span<float> parameters, ReadOnlySpan<float> gradientSum, int samples, int first, int end)
    {
        if (parameters.Length != _parameterCount || gradientSum.Length != _parameterCount)
            throw new ArgumentException($"expected {_parameterCount} weights and gradients, not {parameters.Length} and {gradientSum.Length}");
        ArgumentOutOfRangeException.ThrowIfLessThan(samples, 1);
        if (first < 0 || first > end || end > _parameterCount)
            throw new ArgumentOutOfRangeException(nameof(first), $"[{first}, {end}) is no range of {_parameterCount} weights");
        fixed (float* w = parameters, g = gradientSum)
            Update(w, g, first, end, samples);
    }

    /// <summary>All that it remembers from step to step beside their number: what a checkpoint holds, and is filled from.</summary>
    public abstract IReadOnlyList<OptimizerVector> Vectors { get; }

    /// <summary>Takes an optimizer, whose <see cref="Vectors"/> are filled by somebody else, to where it is after so many steps.</summary>
    public virtual void SkipTo(long steps)
    {
    }

    private protected abstract void Update(float* parameters, float* gradientSum, int first, int end, int samples);
}
