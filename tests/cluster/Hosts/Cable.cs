using System.Globalization;
using System.Text.Json;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>Two hosts and a cable of limited speed between them. Needs root. Gone, with the hosts, when it is disposed.</summary>
internal sealed class Cable : IDisposable
{
    private const string Device = "cable0";

    // Ethernet, IPv4, TCP with timestamps.
    private const int HeaderBytes = 14 + 20 + 32;

    private Cable(NetworkSpace left, NetworkSpace right, bool hasDelay) => (Left, Right, HasDelay) = (left, right, hasDelay);

    public NetworkSpace Left { get; }

    public NetworkSpace Right { get; }

    /// <summary>Whether it delays: not every kernel can do that.</summary>
    public bool HasDelay { get; }

    /// <param name="name">Unique on this machine.</param>
    /// <param name="left">Address of one end, of a network whose mask has 24 bits.</param>
    /// <param name="right">Address of the other.</param>
    /// <param name="megabits">A second, each way.</param>
    /// <param name="delay">Each way, where the kernel can.</param>
    /// <exception cref="InvalidOperationException">The system lacks what is needed, or this is not root.</exception>
    public static Cable Create(string name, string left, string right, int megabits, TimeSpan delay)
    {
        NetworkSpace? near = null, far = null;
        try
        {
            near = new NetworkSpace($"{name}-left");
            far = new NetworkSpace($"{name}-right");
            near.Ip("link", "add", Device, "type", "veth", "peer", "name", Device, "netns", far.Name);
            bool hasDelay = true;
            foreach ((NetworkSpace host, string address) in ((NetworkSpace, string)[])[(near, left), (far, right)])
            {
                host.Ip("address", "add", $"{address}/24", "dev", Device);
                host.Ip("link", "set", "lo", "up");
                host.Ip("link", "set", Device, "up");
                // A queue that holds what a step sends at once: what was lost would be sent again.
                host.Tc("qdisc", "add", "dev", Device, "root", "handle", "1:", "tbf", "rate", $"{megabits}mbit", "burst", "64kb", "latency", "100ms");
                hasDelay &= TryDelay(host, delay);
            }

            return new Cable(near, far, hasDelay);
        }
        catch
        {
            far?.Dispose();
            near?.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that a host has sent over the cable, without the headers of its packets, by the interface's own counters.</summary>
    public static long PayloadFrom(NetworkSpace host)
    {
        using JsonDocument links = JsonDocument.Parse(host.Ip("-s", "-j", "link", "show", "dev", Device));
        JsonElement sent = links.RootElement[0].GetProperty("stats64").GetProperty("tx");
        return sent.GetProperty("bytes").GetInt64() - (HeaderBytes * sent.GetProperty("packets").GetInt64());
    }

    public void Dispose()
    {
        Left.Dispose();
        Right.Dispose();
    }

    private static bool TryDelay(NetworkSpace host, TimeSpan delay)
    {
        try
        {
            host.Tc("qdisc", "add", "dev", Device, "parent", "1:1", "netem", "limit", "100000", "delay", string.Create(CultureInfo.InvariantCulture, $"{delay.TotalMilliseconds}ms"));
            return true;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }
}
