using Distributed.Engine;

namespace Distributed.Optimizers;

/// <summary>
/// m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).
/// Kingma and Ba, 2015, in the form of their section 2 that Keras 2 has.
/// </summary>
internal sealed unsafe class Adam(OptimizerSettings settings, int parameterCount) : Optimizer(parameterCount)
{
    private readonly float[] _mean = new float[parameterCount], _meanSquare = new float[parameterCount];

    // b1^t and b2^t by multiplication: a library's pow may differ from machine to machine.
    private double _beta1Power = 1, _beta2Power = 1;

    public override IReadOnlyList<OptimizerVector> Vectors => [new("m", _mean), new("v", _meanSquare)];

    /// <summary>The powers by the same multiplications, so that they have the same bits; until they change no more.</summary>
    public override void SkipTo(long steps)
    {
        (_beta1Power, _beta2Power) = (1, 1);
        for (long step = 0; step < steps; step++)
        {
            (double beta1Power, double beta2Power) = (_beta1Power * settings.Beta1, _beta2Power * settings.Beta2);
            if ((beta1Power, beta2Power) == (_beta1Power, _beta2Power))
                return;
            (_beta1Power, _beta2Power) = (beta1Power, beta2Power);
        }
    }

    public override void BeginStep()
    {
        _beta1Power *= settings.Beta1;
        _beta2Power *= settings.Beta2;
    }

    private protected override void Update(float* parameters, float* gradientSum, int first, int end, int samples)
    {
        float rate = (float)(settings.LearningRate * Math.Sqrt(1 - _beta2Power) / (1 - _beta1Power));
        fixed (float* m = _mean, v = _meanSquare)
            LaneDispatch.Run(new Loop(parameters, gradientSum, m, v, samples, rate, settings), first, end);
    }

    private readonly struct Loop(float* w, float* g, float* m, float* v, int samples, float rate, OptimizerSettings settings) : IElementwiseLoop
    {
        private readonly float _samples = samples;
        private readonly float _beta1 = (float)settings.Beta1, _oneMinusBeta1 = (float)(1 - settings.Beta1);
        private readonly float _beta2 = (float)settings.Beta2, _oneMinusBeta2 = (float)(1 - settings.Beta2);
        private readonly float _epsilon = (float)settings.Epsilon;

        public void Run<TLanes>(int first, int end)
            where TLanes : unmanaged, ILanes<TLanes>
        {
            TLanes beta1 = TLanes.Splat(_beta1), oneMinusBeta1 = TLanes.Splat(_oneMinusBeta1);
            TLanes beta2 = TLanes.Splat(_beta2), oneMinusBeta2 = TLanes.Splat(_oneMinusBeta2), floor = TLanes.Splat(Floor);
            TLanes rates = TLanes.Splat(rate), epsilon = TLanes.Splat(_epsilon), count = TLanes.Splat(_samples);
            for (nint i = first; i < end; i += TLanes.Count)
            {
                TLanes gradient = TLanes.Divide(TLanes.Load(g + i), count);
                TLanes mean = TLanes.MultiplyAdd(TLanes.Load(m + i), beta1, TLanes.Multiply(gradient, oneMinusBeta1));
                TLanes square = TLanes.Multiply(TLanes.Multiply(gradient, gradient), oneMinusBeta2);
                TLanes meanSquare = TLanes.MultiplyAdd(TLanes.Load(v + i), beta2, square);
                mean = MovingAverage.FlushTiny(mean);
                meanSquare = TLanes.SelectGreater(floor, meanSquare, floor, meanSquare);
                TLanes.Store(m + i, mean);
                TLanes.Store(v + i, meanSquare);
                TLanes step = TLanes.Divide(TLanes.Multiply(rates, mean), TLanes.Add(TLanes.Sqrt(meanSquare), epsilon));
                TLanes.Store(w + i, TLanes.Subtract(TLanes.Load(w + i), step));
            }
        }
    }
}
