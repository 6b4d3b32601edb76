using Distributed.Coordinator.Commands;
using Distributed.Tests.Data;

namespace Distributed.Tests.Commands;

public sealed class CommandTests
{
    [Fact]
    public async Task Summary_OfBuiltIns_HasKerasTotals()
    {
        Assert.Contains("Total params: 93,322\n", (await CommandRun.InvokeAsync(SummaryCommand.Create())).Output);
        Assert.Contains("Total params: 407,050\n", (await CommandRun.InvokeAsync(SummaryCommand.Create(), "--model", "dense")).Output);
    }

    [Fact]
    public async Task Summary_WithKernels_NamesEveryLayer()
    {
        string output = (await CommandRun.InvokeAsync(SummaryCommand.Create(), "--kernels")).Output;
        string kernels = output[output.IndexOf("Kernels (", StringComparison.Ordinal)..];
        foreach (string layer in (string[])["conv2d_1", "max_pooling2d_1", "conv2d_2", "max_pooling2d_2", "conv2d_3", "dense_1", "dense_2"])
            Assert.Contains(layer, kernels);
    }

    [Fact]
    public async Task Summary_ForOtherData_HasItsShapes()
    {
        using TinyDataset tiny = new(height: 20, width: 24, classes: 10);
        Assert.Contains("(None, 18, 22, 32)", (await CommandRun.InvokeAsync(SummaryCommand.Create(), "--dataset", tiny.Directory)).Output);
    }

    [Fact]
    public async Task Summary_ModelThatDoesNotFitTheData_IsRefused()
    {
        using TinyDataset tiny = new(height: 28, width: 28, classes: 4);
        Assert.Equal(
            "model 'convnet': layers[7] (dense_2): 10 outputs do not fit the data, which has 4 classes; expected units 4",
            await CommandRun.RefuseAsync(SummaryCommand.Create(), "--dataset", tiny.Directory));
    }

    [Fact]
    public async Task Data_OfADirectory_SaysWhatIsThere()
    {
        using TinyDataset tiny = new(train: 50, test: 20, height: 5, width: 7, classes: 4);
        string output = (await CommandRun.InvokeAsync(DataCommand.Create(), "--dataset", tiny.Directory)).Output;
        Assert.Contains("50 training and 20 test images of 5x7x1, 4 classes\n", output);
        Assert.Contains($"in {tiny.Directory}\n", output);
        Assert.Contains("counts, sizes and labels ok", output);
    }

    [Fact]
    public async Task Data_OfMnistInDirectoryOfOtherFiles_IsRefused()
    {
        using TinyDataset tiny = new();
        Assert.Contains("not mnist's file", await CommandRun.RefuseAsync(DataCommand.Create(), "--data-dir", tiny.Directory));
    }

    [Theory]
    [InlineData("1")]
    [InlineData("3")]
    public async Task Evaluate_OnAnyThreads_GivesLossAccuracyAndMatrix(string threads)
    {
        using TrainedModel trained = new();
        string output = (await CommandRun.InvokeAsync(EvaluateCommand.Create(), "--weights", trained.Weights, "--threads", threads)).Output;
        Assert.Equal(
            $"""
            {trained.Data.Directory}: 25 test images
            loss: 0.0001 - accuracy: 1.0000 (25 of 25 right)

            label  0  1  2  3  4  5  6  7  8  9  recall
            0      3  0  0  0  0  0  0  0  0  0  1.0000
            1      0  3  0  0  0  0  0  0  0  0  1.0000
            2      0  0  3  0  0  0  0  0  0  0  1.0000
            3      0  0  0  3  0  0  0  0  0  0  1.0000
            4      0  0  0  0  3  0  0  0  0  0  1.0000
            5      0  0  0  0  0  2  0  0  0  0  1.0000
            6      0  0  0  0  0  0  2  0  0  0  1.0000
            7      0  0  0  0  0  0  0  2  0  0  1.0000
            8      0  0  0  0  0  0  0  0  2  0  1.0000
            9      0  0  0  0  0  0  0  0  0  2  1.0000

            """.ReplaceLineEndings("\n"),
            output);
    }

    [Fact]
    public async Task Evaluate_WrongUse_IsRefused()
    {
        using TrainedModel trained = new();
        Assert.Equal("--threads must be at least 1, not 0", await CommandRun.RefuseAsync(EvaluateCommand.Create(), "--weights", trained.Weights, "--threads", "0"));
        Assert.Equal("/no/weights: no such file", await CommandRun.RefuseAsync(EvaluateCommand.Create(), "--weights", "/no/weights"));
        using TinyDataset other = new(height: 5, width: 5, classes: 3);
        Assert.Equal(
            $"{trained.Weights}: its model takes images of 12x10x1 in 10 classes; {other.Directory} has 5x5x1 in 3",
            await CommandRun.RefuseAsync(EvaluateCommand.Create(), "--weights", trained.Weights, "--dataset", other.Directory));
    }

    [Fact]
    public async Task Predict_TestImages_GivesClassProbabilitiesAndLabel()
    {
        using TrainedModel trained = new();
        string[] lines = (await CommandRun.InvokeAsync(PredictCommand.Create(), "--weights", trained.Weights, "idx:0", "idx:13")).Output.Split('\n');
        Assert.StartsWith("idx:0   0  0:0.9999 1:0.0000 ", lines[0]);
        Assert.StartsWith("idx:13  3  0:0.0000 1:0.0000 ", lines[1]);
        Assert.EndsWith("(label 3)", lines[1]);
    }

    [Theory]
    [InlineData("idx:25")]
    [InlineData("idx:-1")]
    [InlineData("idx:x")]
    public async Task Predict_NoSuchTestImage_IsRefused(string image)
    {
        using TrainedModel trained = new();
        Assert.Equal(
            $"{image}: there is no such test image; expected idx:0 to idx:24",
            await CommandRun.RefuseAsync(PredictCommand.Create(), "--weights", trained.Weights, image));
    }

    [Fact]
    public async Task Predict_Files_LightOrDark_GivesTheirClass()
    {
        using TrainedModel trained = new();
        byte[] light = new byte[120];
        light.AsSpan(48, 12).Fill(255);
        byte[] dark = [.. light.Select(static pixel => (byte)(255 - pixel))];
        string png = trained.Data.PathOf("light.png");
        string pgm = trained.Data.PathOf("dark.pgm");
        File.WriteAllBytes(png, TestImages.Png(10, 12, 1, light));
        File.WriteAllBytes(pgm, TestImages.RawGrayMap(10, 12, dark));
        Assert.StartsWith($"{png}  4  ", (await CommandRun.InvokeAsync(PredictCommand.Create(), "--weights", trained.Weights, png)).Output);
        Assert.StartsWith($"{pgm}  4  ", (await CommandRun.InvokeAsync(PredictCommand.Create(), "--weights", trained.Weights, "--invert", pgm)).Output);
    }
}
