using Distributed.Coordinator.Status;

namespace Distributed.Tests.Status;

public sealed class LearningCurveTests
{
    [Theory]
    [InlineData(0, 1, 0)]
    [InlineData(1, 1, 1)]
    [InlineData(511, 1, 511)]
    [InlineData(512, 2, 256)]
    [InlineData(513, 2, 256)]
    [InlineData(514, 2, 257)]
    [InlineData(1024, 4, 256)]
    [InlineData(100_000, 256, 390)]
    public void Curve_OfAnyLength_StaysWithinItsPoints(int steps, int stepsPerPoint, int points)
    {
        LearningCurve curve = new();
        for (int step = 1; step <= steps; step++)
            curve.Add(step, lossSum: 10.0 * step, correct: 5, samples: 10, TimeSpan.FromMilliseconds(2));
        CurveDocument read = curve.Read();
        Assert.Equal((stepsPerPoint, points), (read.StepsPerPoint, read.Step.Length));
        for (int i = 0; i < points; i++)
        {
            long end = (i + 1L) * stepsPerPoint;
            Assert.Equal(end, read.Step[i]);
            Assert.Equal(end - ((stepsPerPoint - 1) / 2.0), read.Loss[i], tolerance: 1e-6);
            Assert.Equal(0.5, read.Accuracy[i]);
            Assert.Equal(5000, read.ImagesPerSecond[i], tolerance: 1e-6);
        }
    }
}
