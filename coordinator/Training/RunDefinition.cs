using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Distributed.Coordinator.Hosting;
using Distributed.Data;
using Distributed.Models;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Training;

/// <summary>A run with everything known: its options, its data and the model fitted to it.</summary>
internal sealed class RunDefinition
{
    public RunDefinition(RunOptions options, Dataset dataset, ResolvedModel model)
    {
        Options = options;
        Dataset = dataset;
        Model = model;
        Plan = new ShardPlan(dataset.Train.Count, options.BatchSize, options.Shards, options.Seed, options.Shuffle);
        Tree = new ReductionTree(options.Shards);
        RunNumber = BinaryPrimitives.ReadUInt64LittleEndian(RandomNumberGenerator.GetBytes(sizeof(ulong))) >> 16;
        RunId = $"{RunNumber:x12}";
        ModelJson = Encoding.UTF8.GetString(Models.ModelJson.Write(model.Definition));
        int chunk = (int)(options.ChunkBytes ?? RunOptions.UsualChunkBytes);
        Chunks = chunk == 0 ? null : new VectorChunks(model.ParameterCount, chunk / options.Wire.ValueBytes());
        long steps = (long)options.Epochs * Plan.StepsPerEpoch;
        TotalSteps = options.MaxSteps is { } most ? Math.Min(most, steps) : steps;
    }

    public RunOptions Options { get; }

    public Dataset Dataset { get; }

    public ResolvedModel Model { get; }

    public ShardPlan Plan { get; }

    public ReductionTree Tree { get; }

    /// <summary>A new one for each run.</summary>
    public string RunId { get; }

    /// <summary>The same as a number of 48 bits.</summary>
    public ulong RunNumber { get; }

    public string ModelJson { get; }

    /// <summary>How vectors travel to and from workers who are sent them in chunks; null: nobody is.</summary>
    public VectorChunks? Chunks { get; }

    /// <summary>The largest message that a worker has reason to send.</summary>
    public long MaxMessageBytes => Math.Max((long)Model.ParameterCount * Options.Wire.ValueBytes(), Options.TestBlockSamples) + TrainingWire.MessageOverhead;

    /// <summary>Steps of the whole run.</summary>
    public long TotalSteps { get; }

    /// <summary>Steps that the run makes in an epoch: all, or fewer in the last when --max-steps ends it early.</summary>
    public int StepsOfEpoch(int epoch) => (int)Math.Min(Plan.StepsPerEpoch, TotalSteps - ((long)epoch * Plan.StepsPerEpoch));

    /// <summary>Cuts a shard into messages, in its file order.</summary>
    public IEnumerable<CoordinatorMessage> ShardMessages(int shard)
    {
        int imageLength = Dataset.Shape.Length;
        int samples = Plan.ShardSamples(shard);
        int most = Math.Max(1, TrainingWire.DataChunkBytes / imageLength);
        for (int first = 0; first < samples; first += most)
        {
            int count = Math.Min(most, samples - first);
            byte[] images = new byte[count * imageLength];
            byte[] labels = new byte[count];
            for (int i = 0; i < count; i++)
            {
                int sample = Plan.SampleAt(shard, first + i);
                Dataset.Train.Image(sample).CopyTo(images.AsSpan(i * imageLength));
                labels[i] = Dataset.Train.Labels[sample];
            }

            yield return new CoordinatorMessage
            {
                ShardData = new ShardData
                {
                    Shard = (uint)shard,
                    FirstSample = (uint)first,
                    Images = TrainingWire.Wrap(images),
                    Labels = TrainingWire.Wrap(labels),
                },
            };
        }
    }

    /// <summary>A block of the test set as a message.</summary>
    /// <param name="range">Its samples.</param>
    public CoordinatorMessage TestMessage(int block, (int First, int End) range)
    {
        int imageLength = Dataset.Shape.Length;
        return new CoordinatorMessage
        {
            TestData = new TestData
            {
                Block = (uint)block,
                Images = TrainingWire.Wrap(Dataset.Test.Images.AsMemory(range.First * imageLength, (range.End - range.First) * imageLength)),
                Labels = TrainingWire.Wrap(Dataset.Test.Labels.AsMemory(range.First, range.End - range.First)),
            },
        };
    }

    /// <summary>What a worker must know of the run.</summary>
    public Welcome CreateWelcome(int workerId, long membershipVersion) => new()
    {
        WorkerId = (uint)workerId,
        RunId = RunId,
        MembershipVersion = (ulong)membershipVersion,
        ModelJson = ModelJson,
        ImageHeight = (uint)Model.Input.Height,
        ImageWidth = (uint)Model.Input.Width,
        ImageChannels = (uint)Model.Input.Channels,
        Classes = (uint)Model.Classes,
        TrainingSamples = (uint)Plan.Samples,
        BatchSize = (uint)Plan.BatchSize,
        Shards = (uint)Plan.Shards,
        Seed = Plan.Seed,
        Shuffle = Plan.Shuffle,
        TestSamples = (uint)Dataset.Test.Count,
        TestBlockSamples = (uint)Options.TestBlockSamples,
        HeartbeatIntervalMs = (uint)Options.HeartbeatInterval.TotalMilliseconds,
        HeartbeatTimeoutMs = (uint)Options.HeartbeatTimeout.TotalMilliseconds,
        Bfloat16 = Options.Wire == WirePrecision.Bf16,
        WindowBytes = (uint)StreamWindow.Of(Options),
    };
}
