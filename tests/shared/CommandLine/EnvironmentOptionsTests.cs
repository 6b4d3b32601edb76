using System.CommandLine;
using Distributed.CommandLine;

namespace Distributed.Tests.CommandLine;

public sealed class EnvironmentOptionsTests
{
    private readonly RootCommand _root = new()
    {
        new Option<string>("--name"),
        new Command("train") { new Option<int>("--epochs"), new Option<int?>("--batch-size"), new Option<bool>("--no-shuffle") },
        new Command("data"),
    };

    [Theory]
    [InlineData("train", "TRAIN__EPOCHS=3 TRAIN__BATCH_SIZE=32", "train --batch-size 32 --epochs 3")]
    [InlineData("train --epochs 2", "TRAIN__EPOCHS=3", "train --epochs 2")]
    [InlineData("train --epochs=2", "TRAIN__EPOCHS=3", "train --epochs=2")]
    [InlineData("train", "TRAIN__EPOCHS=", "train")]
    [InlineData("train", "TRAIN__NO_SHUFFLE=true", "train --no-shuffle")]
    [InlineData("train", "TRAIN__NO_SHUFFLE=0", "train")]
    [InlineData("data", "TRAIN__NONSENSE=3", "data")]
    [InlineData("", "WORKER__NAME=anna TRAIN__EPOCHS=3", "--name anna")]
    public void Variables_OfTheCommand_BecomeOptionsUnlessGiven(string line, string environment, string expected) =>
        Assert.Equal(Split(expected), Read(line, environment).Arguments);

    [Theory]
    [InlineData("TRAIN__EPOCH=3", "TRAIN__EPOCH stands for --epoch, which is no option here; did you mean '--epochs'?")]
    [InlineData("TRAIN__NO_SHUFFLE=maybe", "TRAIN__NO_SHUFFLE must be true or false, not 'maybe'")]
    public void Variable_ThatMakesNoSense_IsRefusedByName(string environment, string message) =>
        Assert.Contains(message, Assert.Throws<ConfigurationException>(() => Read("train", environment)).Message, StringComparison.Ordinal);

    [Fact]
    public void VariableOf_AnOptionOfTheEnvironment_NamesIt()
    {
        EnvironmentOptions options = Read("train --batch-size 8", "TRAIN__EPOCHS=3 TRAIN__BATCH_SIZE=9");
        Assert.Equal("TRAIN__EPOCHS", options.VariableOf("--epochs"));
        Assert.Null(options.VariableOf("--batch-size"));
    }

    private EnvironmentOptions Read(string line, string environment) =>
        EnvironmentOptions.Read("worker", _root, Split(line), Split(environment).Select(static pair => KeyValuePair.Create(pair.Split('=')[0], (string?)pair.Split('=')[1])));

    private static string[] Split(string words) => words.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
