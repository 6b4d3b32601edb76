using Distributed.Engine;

namespace Distributed.Optimizers;

/// <summary>v = rho v + (1 - rho) g^2; w -= lr g / (sqrt(v) + epsilon). Tieleman and Hinton, 2012, as Keras 2 has it.</summary>
internal sealed unsafe class Rmsprop(OptimizerSettings settings, int parameterCount) : Optimizer(parameterCount)
{
    private readonly float[] _meanSquare = new float[parameterCount];

    public override IReadOnlyList<OptimizerVector> Vectors => [new("rms", _meanSquare)];

    private protected override void Update(float* parameters, float* gradientSum, int first, int end, int samples)
    {
        fixed (float* v = _meanSquare)
            LaneDispatch.Run(new Loop(parameters, gradientSum, v, samples, settings), first, end);
    }

    private readonly struct Loop(float* w, float* g, float* v, int samples, OptimizerSettings settings) : IElementwiseLoop
    {
        private readonly float _samples = samples;
        private readonly float _rho = (float)settings.Rho, _oneMinusRho = (float)(1 - settings.Rho);
        private readonly float _rate = (float)settings.LearningRate, _epsilon = (float)settings.Epsilon;

        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes rho = TLanes.Splat(_rho), oneMinusRho = TLanes.Splat(_oneMinusRho), floor = TLanes.Splat(Floor);
            TLanes rate = TLanes.Splat(_rate), epsilon = TLanes.Splat(_epsilon), count = TLanes.Splat(_samples);
            for (nint i = first; i < end; i += TLanes.Count)
            {
                TLanes gradient = TLanes.Divide(TLanes.Load(g + i), count);
                TLanes square = TLanes.Multiply(TLanes.Multiply(gradient, gradient), oneMinusRho);
                TLanes mean = TLanes.MultiplyAdd(TLanes.Load(v + i), rho, square);
                mean = TLanes.SelectGreater(floor, mean, floor, mean);
                TLanes.Store(v + i, mean);
                TLanes step = TLanes.Divide(TLanes.Multiply(rate, gradient), TLanes.Add(TLanes.Sqrt(mean), epsilon));
                TLanes.Store(w + i, TLanes.Subtract(TLanes.Load(w + i), step));
            }
        }
    }
}
