using System.CommandLine;
namespace Distributed.Worker.Commands;
internal static class BenchmarkCommand { public static Command Create() => new("benchmark", "x"); }
