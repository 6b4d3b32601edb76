using System.CommandLine;
using Distributed.Worker.Commands;

RootCommand root = new("Computes gradients for a coordinator.");
JoinCommand.AddTo(root);
root.Subcommands.Add(BenchmarkCommand.Create());
return await CommandLineHost.RunAsync(root, args).ConfigureAwait(false);
