using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Distributed.Coordinator.Hosting;

/// <summary>HOST:PORT to listen at, resolved; port 0 takes a free one.</summary>
internal sealed record ListenAddress(string Option, string Text, IPEndPoint EndPoint)
{
    /// <exception cref="ConfigurationException">It is not HOST:PORT, or the host is not known.</exception>
    public static ListenAddress Parse(string option, string text)
    {
        int colon = text.LastIndexOf(':');
        if (colon <= 0 || !int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port) || port > IPEndPoint.MaxPort)
            throw new ConfigurationException($"{option} must be HOST:PORT, such as 127.0.0.1:5000, not '{text}'");
        return new ListenAddress(option, text, new IPEndPoint(Resolve(option, text[..colon]), port));
    }

    private static IPAddress Resolve(string option, string host)
    {
        if (host is "*" or "+")
            return IPAddress.IPv6Any;
        if (host == "localhost")
            return IPAddress.Loopback;
        if (IPAddress.TryParse(host.Trim('[', ']'), out IPAddress? address))
            return address;
        try
        {
            return Dns.GetHostAddresses(host, AddressFamily.InterNetwork)[0];
        }
        catch (Exception exception) when (exception is SocketException or IndexOutOfRangeException or ArgumentException)
        {
            throw new ConfigurationException($"{option}: the host '{host}' is not known", exception);
        }
    }
}
