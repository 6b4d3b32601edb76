namespace Distributed.Coordinator.Status;

/// <summary>
/// Loss, accuracy and throughput over the steps of a run, in at most <see cref="MostPoints"/> points of equally many steps
/// each: whenever they would be more, two become one. The step loop adds, anybody reads; neither waits for the other.
/// </summary>
internal sealed class LearningCurve
{
    public const int MostPoints = 512;

    private Series _series = new(1);
    private Sums _open;

    /// <summary>A step has ended.</summary>
    /// <param name="step">Steps of the run with it.</param>
    public void Add(long step, double lossSum, int correct, int samples, TimeSpan duration)
    {
        _open = new Sums(step, _open.Steps + 1, _open.Loss + lossSum, _open.Correct + correct, _open.Samples + samples, _open.Seconds + duration.TotalSeconds);
        if (_open.Steps < _series.StepsPerPoint)
            return;
        _series.Append(_open);
        _open = default;
        if (_series.Count == MostPoints)
            Volatile.Write(ref _series, _series.Halve());
    }

    public CurveDocument Read() => Volatile.Read(ref _series).Read();

    /// <summary>What the steps of a point come to.</summary>
    private readonly record struct Sums(long Step, int Steps, double Loss, long Correct, long Samples, double Seconds)
    {
        public static Sums operator +(Sums a, Sums b) =>
            new(b.Step, a.Steps + b.Steps, a.Loss + b.Loss, a.Correct + b.Correct, a.Samples + b.Samples, a.Seconds + b.Seconds);
    }

    /// <summary>Points that are only ever appended to: what is below the count does not change any more.</summary>
    private sealed class Series(int stepsPerPoint)
    {
        private readonly Sums[] _points = new Sums[MostPoints];
        private int _count;

        public int StepsPerPoint { get; } = stepsPerPoint;

        public int Count => _count;

        public void Append(Sums point)
        {
            _points[_count] = point;
            Volatile.Write(ref _count, _count + 1);
        }

        public Series Halve()
        {
            Series halved = new(StepsPerPoint * 2);
            for (int i = 0; i < MostPoints; i += 2)
                halved.Append(_points[i] + _points[i + 1]);
            return halved;
        }

        public CurveDocument Read()
        {
            ReadOnlySpan<Sums> points = _points.AsSpan(0, Volatile.Read(ref _count));
            CurveDocument curve = new(StepsPerPoint, new long[points.Length], new double[points.Length], new double[points.Length], new double[points.Length]);
            for (int i = 0; i < points.Length; i++)
            {
                Sums point = points[i];
                curve.Step[i] = point.Step;
                curve.Loss[i] = point.Loss / point.Samples;
                curve.Accuracy[i] = (double)point.Correct / point.Samples;
                curve.ImagesPerSecond[i] = point.Samples / Math.Max(point.Seconds, 1e-9);
            }

            return curve;
        }
    }
}
