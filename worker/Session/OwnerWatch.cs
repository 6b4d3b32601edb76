namespace Distributed.Worker.Session;

/// <summary>
/// Ends this process when its owner is gone, however it went: the owner holds the other end of standard input, and the
/// system closes that end even for a process that was killed.
/// </summary>
internal static class OwnerWatch
{
    private const int ExitCode = 1;

    public static void Start()
    {
        new Thread(Watch) { IsBackground = true, Name = "owner watch" }.Start();

        static void Watch()
        {
            using Stream input = Console.OpenStandardInput();
            Span<byte> anything = stackalloc byte[64];
            try
            {
                while (input.Read(anything) > 0)
                {
                }
            }
            catch (IOException)
            {
                // Closed as well.
            }

            Environment.Exit(ExitCode);
        }
    }
}
