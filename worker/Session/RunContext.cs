using System.Text;
using Distributed.Data;
using Distributed.Engine;
using Distributed.Exchange;
using Distributed.Models;
using Distributed.Protos;
using Distributed.Reduction;
using Distributed.Worker.Compute;
using Distributed.Worker.Exchange;

namespace Distributed.Worker.Session;

/// <summary>Everything a worker holds for one run: made from the coordinator's welcome, gone with the session.</summary>
internal sealed class RunContext : IDisposable
{
    private readonly Network _network;

    private RunContext(Welcome welcome, Network network, ShardPlan plan, int threads, SharedMemoryLink? shared)
    {
        _network = network;
        Shared = shared;
        RunId = welcome.RunId;
        WorkerId = (int)welcome.WorkerId;
        HeartbeatInterval = TimeSpan.FromMilliseconds(welcome.HeartbeatIntervalMs);
        HeartbeatTimeout = TimeSpan.FromMilliseconds(welcome.HeartbeatTimeoutMs);
        Shards = new ShardStore(plan, network.Model.Input.Length);
        int blockSamples = Math.Max(1, (int)welcome.TestBlockSamples);
        Tests = new TestStore(((int)welcome.TestSamples + blockSamples - 1) / blockSamples, network.Model.Input.Length);
        Tree = new ReductionTree(plan.Shards);
        Plan = plan;
        Chunks = welcome.ChunkValues == 0 ? null : new VectorChunks(network.Model.ParameterCount, (int)Math.Min(welcome.ChunkValues, int.MaxValue));
        Precision = welcome.Bfloat16 ? WirePrecision.Bf16 : WirePrecision.Float32;
        // What another process reads in shared memory must be whole.
        Executor = new StepExecutor(network, plan, Shards, Tests, threads, shared?.Pool, Precision, shared is null ? Chunks : null);
    }

    public string RunId { get; }

    public int WorkerId { get; }

    public TimeSpan HeartbeatInterval { get; }

    public TimeSpan HeartbeatTimeout { get; }

    public ShardStore Shards { get; }

    public TestStore Tests { get; }

    public StepExecutor Executor { get; }

    public ShardPlan Plan { get; }

    public ReductionTree Tree { get; }

    /// <summary>How vectors of steps travel over gRPC; null: whole.</summary>
    public VectorChunks? Chunks { get; }

    /// <summary>What the weights of a step and the gradients are rounded to, and travel as.</summary>
    public WirePrecision Precision { get; }

    /// <summary>Null: everything goes over gRPC.</summary>
    public SharedMemoryLink? Shared { get; }

    public int ParameterCount => _network.Model.ParameterCount;

    /// <summary>Compiles everything, so that the first order is carried out as fast as any.</summary>
    /// <exception cref="ConfigurationException">The model or the plan is not one this worker can run.</exception>
    public static RunContext Create(Welcome welcome, int threads, ExchangeChoice exchange)
    {
        ShardPlan plan;
        try
        {
            plan = new ShardPlan((int)welcome.TrainingSamples, (int)welcome.BatchSize, (int)welcome.Shards, welcome.Seed, welcome.Shuffle);
        }
        catch (ArgumentException exception)
        {
            throw new ConfigurationException(exception.Message, exception);
        }

        SampleShape input = new((int)welcome.ImageHeight, (int)welcome.ImageWidth, (int)welcome.ImageChannels);
        ResolvedModel model = ModelResolver.Resolve(ModelJson.Read(Encoding.UTF8.GetBytes(welcome.ModelJson), "the coordinator's model"), input, (int)welcome.Classes);
        SharedMemoryLink? shared = SharedMemoryLink.TryOpen(welcome.SharedMemory, exchange, model.ParameterCount);
        RunContext? run = null;
        try
        {
            run = new RunContext(welcome, Network.Compile(model, plan.Microbatch, InstructionSets.Best, StepExecutor.WaveFor(plan, threads)), plan, threads, shared);
            run.Executor.WarmUp();
            return run;
        }
        catch
        {
            if (run is null)
                shared?.Dispose();
            else
                run.Dispose();
            throw;
        }
    }

    public void Dispose()
    {
        Executor.Dispose();
        _network.Dispose();
        Shared?.Dispose();
    }
}
