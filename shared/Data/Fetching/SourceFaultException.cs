namespace Distributed.Data.Fetching;

/// <summary>One source could not deliver; the next one may. The message is the reason alone.</summary>
internal sealed class SourceFaultException(string reason, Exception? inner = null) : Exception(reason, inner);
