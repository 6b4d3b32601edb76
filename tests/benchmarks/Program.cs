using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using Distributed.Benchmarks;

// In this process, so that the runtime settings of this project, the worker's, hold; pin it with taskset.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithIterationCount(12).WithToolchain(InProcessEmitToolchain.Instance))
    .AddColumn(StatisticColumn.Min, new ThroughputColumn(), new ShareOfPeakColumn())
    .HideColumns(Column.Error, Column.StdDev, Column.Median, Column.Gen0)
    .WithOption(ConfigOptions.DisableOptimizationsValidator, true)
    .WithOption(ConfigOptions.JoinSummary, true);
BenchmarkSwitcher.FromAssembly(typeof(TrainedNetwork).Assembly).Run(args, config);
