using System.Runtime.InteropServices;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>
/// What is to a program a host of its own: a network namespace whose only way out is a TUN device, and what comes out of
/// that is the test's to deliver. Needs root. Gone, with its addresses, when it is disposed.
/// </summary>
internal sealed partial class NetworkHost : IDisposable
{
    /// <summary>A packet is no larger than this.</summary>
    public const int MaxPacket = 1500;

    private const int OpenReadWrite = 2;
    private const int OpenNonBlocking = 0x800;
    private const int NetworkNamespace = 0x4000_0000;
    private const nuint SetInterface = 0x4004_54ca;

    // IFF_TUN | IFF_NO_PI: bare IP packets.
    private const short BareTunnel = 0x1001;

    private const short PollIn = 1;
    private const string Device = "tun0";

    private readonly NetworkSpace _space;
    private int _tunnel = -1;

    private NetworkHost(NetworkSpace space, string address) => (_space, Address) = (space, address);

    public string Name => _space.Name;

    public string Address { get; }

    /// <param name="name">Unique on this machine.</param>
    /// <param name="address">Of the network that it shares with the other hosts, whose mask has 24 bits.</param>
    /// <exception cref="InvalidOperationException">The system lacks what is needed, or this is not root.</exception>
    public static NetworkHost Create(string name, string address)
    {
        NetworkHost host = new(new NetworkSpace(name), address);
        try
        {
            Exception? failure = null;
            // The device belongs to the namespace of the thread that makes it, and this thread ends with its errand.
            Thread thread = new(() =>
            {
                try
                {
                    host._tunnel = OpenTunnel(name);
                }
                catch (InvalidOperationException exception)
                {
                    failure = exception;
                }
            });
            thread.Start();
            thread.Join();
            if (failure is not null)
                throw failure;
            host._space.Ip("address", "add", $"{address}/24", "dev", Device);
            host._space.Ip("link", "set", "lo", "up");
            host._space.Ip("link", "set", Device, "up");
            return host;
        }
        catch
        {
            host.Dispose();
            throw;
        }
    }

    /// <summary>Starts a program on this host.</summary>
    public ProgramRun Start(string file, params IEnumerable<string> arguments) => _space.Start(file, arguments);

    /// <summary>The next packet that the host sends, or 0 bytes when there is none for a while.</summary>
    public int Receive(byte[] packet, int milliseconds)
    {
        PollFile poll = new() { File = _tunnel, Events = PollIn };
        return Poll(ref poll, 1, milliseconds) > 0 ? Math.Max(0, (int)Read(_tunnel, packet, (nuint)packet.Length)) : 0;
    }

    /// <summary>Delivers a packet to the host; it is lost where the host's queue is full, as on any network.</summary>
    public void Deliver(byte[] packet) => Write(_tunnel, packet, (nuint)packet.Length);

    public void Dispose()
    {
        if (_tunnel >= 0)
            _ = Close(_tunnel);
        _space.Dispose();
    }

    private static int OpenTunnel(string host)
    {
        int space = Check(Open($"/run/netns/{host}", 0), "open the network namespace");
        try
        {
            Check(SetNamespace(space, NetworkNamespace), "enter the network namespace");
        }
        finally
        {
            _ = Close(space);
        }

        int tunnel = Check(Open("/dev/net/tun", OpenReadWrite | OpenNonBlocking), "open /dev/net/tun");
        InterfaceRequest request = new() { Flags = BareTunnel };
        Device.Select(static letter => (byte)letter).ToArray().CopyTo(MemoryMarshal.AsBytes(new Span<InterfaceRequest>(ref request)));
        if (Control(tunnel, SetInterface, ref request) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            _ = Close(tunnel);
            throw new InvalidOperationException($"cannot make a TUN device: {Marshal.GetPInvokeErrorMessage(error)}");
        }

        return tunnel;
    }

    private static int Check(int result, string what) =>
        result >= 0 ? result : throw new InvalidOperationException($"cannot {what}: {Marshal.GetLastPInvokeErrorMessage()}");

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int file);

    [LibraryImport("libc", EntryPoint = "setns", SetLastError = true)]
    private static partial int SetNamespace(int file, int kind);

    [LibraryImport("libc", EntryPoint = "ioctl", SetLastError = true)]
    private static partial int Control(int file, nuint request, ref InterfaceRequest argument);

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(ref PollFile file, nuint files, int milliseconds);

    [LibraryImport("libc", EntryPoint = "read")]
    private static partial nint Read(int file, byte[] buffer, nuint count);

    [LibraryImport("libc", EntryPoint = "write")]
    private static partial nint Write(int file, byte[] buffer, nuint count);

    /// <summary>struct ifreq: 16 bytes of name, then a union of 24.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    private struct InterfaceRequest
    {
        [FieldOffset(16)]
        public short Flags;
    }

    private struct PollFile
    {
        public int File;
        public short Events;
        public short Happened;
    }
}
