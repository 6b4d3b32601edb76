using System.Runtime.Intrinsics;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Engines;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using Distributed.Engine;
using Distributed.Models;

namespace Distributed.Benchmarks;

/// <summary>The processor's own limit: independent fused multiply-adds in registers, at the widest vector there is.</summary>
public class Peak
{
    private const int Rounds = 1_000_000;

    public static double FlopsPerInvocation => 2.0 * Rounds * 12 * Width;

    private static int Width => InstructionSets.Best switch { InstructionSet.Avx512 => 16, InstructionSet.Avx2 => 8, InstructionSet.Vector128 => 4, _ => 1 };

    [Benchmark]
    public float MultiplyAdd() => InstructionSets.Best switch
    {
        InstructionSet.Avx512 => Run<Lanes512>(),
        InstructionSet.Avx2 => Run<Lanes256>(),
        InstructionSet.Vector128 => Run<Lanes128>(),
        _ => Run<ScalarLane>(),
    };

    private static unsafe float Run<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes>
    {
        // Twelve chains hide a latency of four at two a cycle, with room to spare.
        TLanes a = TLanes.Splat(0.999f), b = TLanes.Splat(0.001f);
        TLanes c0 = a, c1 = a, c2 = a, c3 = a, c4 = a, c5 = a, c6 = a, c7 = a, c8 = a, c9 = a, c10 = a, c11 = a;
        for (int i = 0; i < Rounds; i++)
        {
            c0 = TLanes.MultiplyAdd(a, c0, b);
            c1 = TLanes.MultiplyAdd(a, c1, b);
            c2 = TLanes.MultiplyAdd(a, c2, b);
            c3 = TLanes.MultiplyAdd(a, c3, b);
            c4 = TLanes.MultiplyAdd(a, c4, b);
            c5 = TLanes.MultiplyAdd(a, c5, b);
            c6 = TLanes.MultiplyAdd(a, c6, b);
            c7 = TLanes.MultiplyAdd(a, c7, b);
            c8 = TLanes.MultiplyAdd(a, c8, b);
            c9 = TLanes.MultiplyAdd(a, c9, b);
            c10 = TLanes.MultiplyAdd(a, c10, b);
            c11 = TLanes.MultiplyAdd(a, c11, b);
        }

        TLanes sum = TLanes.Add(TLanes.Add(TLanes.Add(c0, c1), TLanes.Add(c2, c3)), TLanes.Add(TLanes.Add(c4, c5), TLanes.Add(c6, c7)));
        sum = TLanes.Add(sum, TLanes.Add(TLanes.Add(c8, c9), TLanes.Add(c10, c11)));
        float* lanes = stackalloc float[TLanes.Count];
        TLanes.Store(lanes, sum);
        return lanes[0];
    }
}

/// <summary>The whole step of 64 images: packing, eight microbatches forward and back in two waves, the tree's sums, RMSprop.</summary>
public class Step
{
    private TrainedNetwork _network = null!;

    [GlobalSetup]
    public void Setup() => _network = new TrainedNetwork(BuiltInModels.ConvNet, InstructionSets.Best);

    [GlobalCleanup]
    public void Cleanup() => _network.Dispose();

    [Benchmark]
    public void Train() => _network.Step();

    [Benchmark]
    public void Prepare() => _network.Prepare();
}

/// <summary>Each operation of the card's network for 64 images: eight microbatches of eight, in two waves.</summary>
public class Operations
{
    private TrainedNetwork _network = null!;
    private Operation _operation = null!;
    private bool _takesWholeWaves;

    public static IEnumerable<string> Layers => ["conv2d_1 + max_pooling2d_1", "conv2d_2 + max_pooling2d_2", "conv2d_3", "dense_1", "dense_2"];

    [ParamsSource(nameof(Layers))]
    public string Layer { get; set; } = "";

    /// <summary>Direct multiply-adds of a layer's forward pass for 64 images, two operations each; a backward pass has twice that, or once for the first layer.</summary>
    public static double ForwardFlops(string layer) => 2.0 * TrainedNetwork.BatchSize * layer[..7] switch
    {
        "conv2d_" => layer[7] switch
        {
            '1' => 26 * 26 * 32 * 9,
            '2' => 11 * 11 * 64 * 9 * 32,
            _ => 3 * 3 * 64 * 9 * 64,
        },
        _ => layer.EndsWith('1') ? 576 * 64 : 64 * 10,
    };

    public static bool IsFirst(string layer) => layer.StartsWith("conv2d_1", StringComparison.Ordinal);

    [GlobalSetup]
    public void Setup()
    {
        _network = new TrainedNetwork(BuiltInModels.ConvNet, InstructionSets.Best);
        _network.Prepare();
        CompiledNetwork compiled = _network.Network.Compiled;
        int index = Array.FindIndex(compiled.Operations, operation => operation.Layers == Layer);
        (_operation, _takesWholeWaves) = (compiled.Operations[index], index >= compiled.FirstOfWholeWaves);
    }

    [GlobalCleanup]
    public void Cleanup() => _network.Dispose();

    [Benchmark]
    public void Forward()
    {
        for (int wave = 0; wave < TrainedNetwork.Waves; wave++)
        {
            if (_takesWholeWaves)
            {
                _operation.Forward(_network.WholeWave);
                continue;
            }

            foreach (Pass pass in _network.Microbatches)
                _operation.Forward(pass);
        }
    }

    [Benchmark]
    public void Backward()
    {
        for (int wave = 0; wave < TrainedNetwork.Waves; wave++)
        {
            foreach (Pass pass in _network.Microbatches)
            {
                _operation.BackwardWeights(pass);
                if (!_takesWholeWaves)
                    _operation.BackwardData(pass);
            }

            if (_takesWholeWaves)
                _operation.BackwardData(_network.WholeWave);
        }
    }
}

/// <summary>GFLOP/s as if every multiply-add of the direct algorithm were done: Winograd and sparsity go beyond the peak.</summary>
internal class ThroughputColumn : IColumn
{
    public virtual string Id => "GFLOP/s";

    public string ColumnName => Id;

    public bool AlwaysShow => true;

    public ColumnCategory Category => ColumnCategory.Custom;

    public int PriorityInCategory => 0;

    public bool IsNumeric => true;

    public UnitType UnitType => UnitType.Dimensionless;

    public virtual string Legend => "direct multiply-adds, two operations each, over the minimum time";

    public virtual string GetValue(Summary summary, BenchmarkCase benchmarkCase) =>
        Throughput(summary, benchmarkCase) is { } value ? $"{value:0.0}" : "-";

    public string GetValue(Summary summary, BenchmarkCase benchmarkCase, SummaryStyle style) => GetValue(summary, benchmarkCase);

    public bool IsAvailable(Summary summary) => true;

    public bool IsDefault(Summary summary, BenchmarkCase benchmarkCase) => false;

    protected static double? Throughput(Summary summary, BenchmarkCase benchmarkCase)
    {
        double? flops = benchmarkCase.Descriptor.Type == typeof(Peak) ? Peak.FlopsPerInvocation
            : benchmarkCase.Descriptor.Type == typeof(Operations) ? OperationFlops(benchmarkCase)
            : null;
        return flops / summary[benchmarkCase]?.ResultStatistics?.Min;
    }

    private static double OperationFlops(BenchmarkCase benchmarkCase)
    {
        string layer = (string)benchmarkCase.Parameters[nameof(Operations.Layer)];
        bool isForward = benchmarkCase.Descriptor.WorkloadMethod.Name == nameof(Operations.Forward);
        return Operations.ForwardFlops(layer) * (isForward || Operations.IsFirst(layer) ? 1 : 2);
    }
}

/// <summary>The same as a share of what <see cref="Peak"/> reached in this run.</summary>
internal sealed class ShareOfPeakColumn : ThroughputColumn
{
    public override string Id => "Peak";

    public override string Legend => "share of the peak measured in the same run";

    public override string GetValue(Summary summary, BenchmarkCase benchmarkCase)
    {
        BenchmarkCase? peak = summary.BenchmarksCases.FirstOrDefault(static item => item.Descriptor.Type == typeof(Peak));
        return peak is not null && Throughput(summary, benchmarkCase) / Throughput(summary, peak) is { } share ? $"{share:P0}" : "-";
    }
}
