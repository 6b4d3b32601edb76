using Distributed.Engine;

namespace Distributed.Optimizers;

/// <summary>velocity = momentum velocity - lr g; w += velocity, or with Nesterov w += momentum velocity - lr g. As Keras 2 has it.</summary>
internal sealed unsafe class Sgd(OptimizerSettings settings, int parameterCount) : Optimizer(parameterCount)
{
    private readonly float[] _velocity = new float[parameterCount];

    public override IReadOnlyList<OptimizerVector> Vectors => [new("momentum", _velocity)];

    private protected override void Update(float* parameters, float* gradientSum, int first, int end, int samples)
    {
        fixed (float* velocity = _velocity)
            LaneDispatch.Run(new Loop(parameters, gradientSum, velocity, samples, settings), first, end);
    }

    private readonly struct Loop(float* w, float* g, float* velocity, int samples, OptimizerSettings settings) : IElementwiseLoop
    {
        private readonly float _samples = samples;
        private readonly float _rate = (float)settings.LearningRate, _momentum = (float)settings.Momentum;
        private readonly bool _nesterov = settings.Nesterov;

        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes minusRate = TLanes.Splat(-_rate), momentum = TLanes.Splat(_momentum), count = TLanes.Splat(_samples);
            for (nint i = first; i < end; i += TLanes.Count)
            {
                TLanes step = TLanes.Multiply(minusRate, TLanes.Divide(TLanes.Load(g + i), count));
                TLanes moved = MovingAverage.FlushTiny(TLanes.MultiplyAdd(momentum, TLanes.Load(velocity + i), step));
                TLanes.Store(velocity + i, moved);
                TLanes change = _nesterov ? TLanes.MultiplyAdd(momentum, moved, step) : moved;
                TLanes.Store(w + i, TLanes.Add(TLanes.Load(w + i), change));
            }
        }
    }
}
