using System.CommandLine;
using Distributed;
using Distributed.Coordinator.Commands;

RootCommand root = new("Synchronous data-parallel training on CPUs.")
{
    SummaryCommand.Create(), EvaluateCommand.Create(), PredictCommand.Create(), DataCommand.Create(),
};
try
{
    ParseResult parsed = root.Parse(args);
    int code = await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
    return parsed.Errors.Count > 0 ? 2 : code;
}
catch (Exception exception) when (exception is ConfigurationException or RunFailedException)
{
    Console.Error.WriteLine(exception.Message);
    return exception is ConfigurationException ? 2 : 1;
}
