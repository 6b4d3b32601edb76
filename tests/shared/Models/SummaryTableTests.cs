using Distributed.Models;

namespace Distributed.Tests.Models;

public sealed class SummaryTableTests
{
    [Fact]
    public void Format_ConvNet_IsKerasTable() => AssertTable(BuiltInModels.ConvNet, """
        _____________________________________________________________________
        Layer (type)                   Output Shape               Param #
        =====================================================================
        conv2d_1 (Conv2D)              (None, 26, 26, 32)         320
        _____________________________________________________________________
        max_pooling2d_1 (MaxPooling2D) (None, 13, 13, 32)         0
        _____________________________________________________________________
        conv2d_2 (Conv2D)              (None, 11, 11, 64)         18496
        _____________________________________________________________________
        max_pooling2d_2 (MaxPooling2D) (None, 5, 5, 64)           0
        _____________________________________________________________________
        conv2d_3 (Conv2D)              (None, 3, 3, 64)           36928
        _____________________________________________________________________
        flatten_1 (Flatten)            (None, 576)                0
        _____________________________________________________________________
        dense_1 (Dense)                (None, 64)                 36928
        _____________________________________________________________________
        dense_2 (Dense)                (None, 10)                 650
        =====================================================================
        Total params: 93,322
        Trainable params: 93,322
        Non-trainable params: 0
        _____________________________________________________________________

        """);

    [Fact]
    public void Format_Dense_IsKerasTable() => AssertTable(BuiltInModels.Dense, """
        _________________________________________________________________
        Layer (type)                 Output Shape              Param #
        =================================================================
        flatten_1 (Flatten)          (None, 784)               0
        _________________________________________________________________
        dense_1 (Dense)              (None, 512)               401920
        _________________________________________________________________
        dense_2 (Dense)              (None, 10)                5130
        =================================================================
        Total params: 407,050
        Trainable params: 407,050
        Non-trainable params: 0
        _________________________________________________________________

        """);

    private static void AssertTable(ModelDefinition model, string table) =>
        Assert.Equal(table.ReplaceLineEndings("\n"), SummaryTable.Format(ModelResolver.Resolve(model, new SampleShape(28, 28, 1), 10)).ReplaceLineEndings("\n"));
}
