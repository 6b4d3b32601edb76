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

    /// <summary>The host as it was given.</summary>
    public string Host => Text[..Text.LastIndexOf(':')];

    /// <summary>Where programs on this machine call.</summary>
    /// <param name="port">The port that was opened.</param>
    /// <param name="isEncrypted">Whether it speaks TLS.</param>
    public Uri ToLocalUri(int port, bool isEncrypted = false)
    {
        IPAddress host = EndPoint.Address;
        host = host.Equals(IPAddress.Any) ? IPAddress.Loopback : host.Equals(IPAddress.IPv6Any) ? IPAddress.IPv6Loopback : host;
        return new UriBuilder(isEncrypted ? Uri.UriSchemeHttps : Uri.UriSchemeHttp, host.ToString(), port).Uri;
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
