using System.CommandLine;
using Distributed.CommandLine;
using Distributed.Worker.Commands;

RootCommand root = new("Computes gradients for a coordinator.");
JoinCommand.AddTo(root);
root.Subcommands.Add(BenchmarkCommand.Create());

// At a terminal Ctrl-C reaches the owner too, which tells its workers when to go.
return await CommandLineHost.RunAsync("worker", root, args, static parsed => parsed.GetValue(JoinCommand.Owned)).ConfigureAwait(false);
