using Distributed.Coordinator.Commands;

namespace Distributed.Tests.Commands;

public sealed class ConfusionMatrixTests
{
    [Fact]
    public void Matrix_OfPredictions_CountsThemAndTheirRecall()
    {
        ConfusionMatrix matrix = new([0, 0, 0, 1, 1], [0, 2, 0, 1, 0], 3);
        Assert.Equal((2, 1, 1, 1), (matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[1, 0]));
        Assert.Equal(2.0 / 3, matrix.Recall(0));
        Assert.Equal(double.NaN, matrix.Recall(2));
        Assert.Equal(
            """
            label  0  1  2  recall
            0      2  0  1  0.6667
            1      1  1  0  0.5000
            2      0  0  0  -

            """.ReplaceLineEndings("\n"),
            matrix.Format().ReplaceLineEndings("\n"));
    }
}
