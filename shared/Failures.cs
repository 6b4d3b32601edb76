namespace Distributed;

/// <summary>
/// Something the user asked for cannot be: an option, a file or a model is wrong. The message is one line that says
/// what was wrong, where, and what to do; hosts print it alone and exit with 2.
/// </summary>
public class ConfigurationException(string message, Exception? inner = null) : Exception(message, inner);

/// <summary>A run or a command could not be carried out. The message is one line for the user; hosts print it alone and exit with 1.</summary>
public class RunFailedException(string message, Exception? inner = null) : Exception(message, inner);
