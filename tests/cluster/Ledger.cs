using System.Globalization;

namespace Distributed.Tests.Cluster;

/// <summary>A step as <c>--ledger</c> tells of it.</summary>
internal sealed record LedgerLine(int Epoch, int Step, int Samples, double Milliseconds, IReadOnlyList<(int First, int Last, string Worker)> Partials);

/// <summary>What <c>--ledger</c> wrote over all of a run's sittings.</summary>
internal static class Ledger
{
    /// <summary>Whole lines only: the last may be in the writing.</summary>
    public static IReadOnlyList<LedgerLine> Read(string path)
    {
        if (!File.Exists(path))
            return [];
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using StreamReader reader = new(file);
        string text = reader.ReadToEnd();
        return [.. text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(Parse)];
    }

    /// <summary>
    /// Every step of every epoch was made, and in what counts of it (its last line, where a coordinator died before the
    /// step was in a checkpoint) every shard with samples exactly once: so every sample once an epoch.
    /// </summary>
    public static void AssertEverySampleOnce(IReadOnlyList<LedgerLine> lines, int samples, int batchSize, int shards, int epochs)
    {
        Dictionary<(int, int), LedgerLine> counting = [];
        foreach (LedgerLine line in lines)
            counting[(line.Epoch, line.Step)] = line;
        int steps = (samples + batchSize - 1) / batchSize;
        int microbatch = batchSize / shards;
        for (int epoch = 1; epoch <= epochs; epoch++)
        {
            int counted = 0;
            for (int step = 1; step <= steps; step++)
            {
                Assert.True(counting.TryGetValue((epoch, step), out LedgerLine? line), $"epoch {epoch}, step {step} is missing");
                int expected = Math.Min(batchSize, samples - ((step - 1) * batchSize));
                int active = (expected + microbatch - 1) / microbatch;
                int[] times = new int[shards];
                foreach ((int first, int last, _) in line.Partials)
                {
                    for (int shard = first; shard <= last; shard++)
                        times[shard]++;
                }

                Assert.Equal(expected, line.Samples);
                Assert.All(times[..active], static count => Assert.Equal(1, count));
                counted += line.Samples;
            }

            Assert.Equal(samples, counted);
        }

        Assert.Equal(steps * epochs, counting.Count);
    }

    private static LedgerLine Parse(string line)
    {
        string[] fields = line.Split(' ');
        return new LedgerLine(
            int.Parse(fields[0], CultureInfo.InvariantCulture),
            int.Parse(fields[1], CultureInfo.InvariantCulture),
            int.Parse(fields[2], CultureInfo.InvariantCulture),
            double.Parse(fields[3], CultureInfo.InvariantCulture),
            [.. fields[4..].Select(static partial =>
            {
                string[] parts = partial.Split('=', 2);
                int[] range = [.. parts[0].Split('-').Select(static number => int.Parse(number, CultureInfo.InvariantCulture))];
                return (range[0], range[1], parts[1]);
            })]);
    }
}
