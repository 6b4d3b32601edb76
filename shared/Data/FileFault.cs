namespace Distributed.Data;

/// <summary>Turns what the file system says into a few words that fit behind a file's name.</summary>
public static class FileFault
{
    // errno values in the HResult of an IOException on Unix; the Windows code of a full disk.
    private const int NoSpaceLinux = 28;
    private const int ReadOnlyFileSystem = 30;
    private const int NoSpaceWindows = unchecked((int)0x80070070);

    /// <summary>Whether an exception is the file system's refusal rather than a bug.</summary>
    public static bool Is(Exception exception) => exception is IOException or UnauthorizedAccessException;

    public static string Describe(Exception exception) => exception switch
    {
        UnauthorizedAccessException => "permission denied",
        FileNotFoundException => "no such file",
        DirectoryNotFoundException => "no such directory",
        { HResult: NoSpaceLinux or NoSpaceWindows } => "no space left on the disk",
        { HResult: ReadOnlyFileSystem } => "the file system is read-only",
        _ => OneLine(exception.Message),
    };

    /// <summary>The first line of a message, without the full stop.</summary>
    public static string OneLine(string message) => message.Trim().Split('\n', 2)[0].Trim().TrimEnd('.');
}
