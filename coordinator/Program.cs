using System.CommandLine;
using Distributed.CommandLine;
using Distributed.Coordinator.Commands;

RootCommand root = new("Synchronous data-parallel training of convolutional networks on CPUs.")
{
    TrainCommand.Create(), SummaryCommand.Create(), EvaluateCommand.Create(), PredictCommand.Create(), DataCommand.Create(),
    StatusCommand.Create(),
};
return await CommandLineHost.RunAsync("coordinator", root, args).ConfigureAwait(false);
