using System.Collections.Concurrent;
using System.Diagnostics;

namespace Distributed.Tests.Cluster.Hosts;

/// <summary>
/// What lies between hosts: carries each packet to whom it is addressed, after a while, and loses some. A host can be cut
/// off, and joined again.
/// </summary>
internal sealed class Switch : IDisposable
{
    // Where an IPv4 header has its destination.
    private const int Destination = 16;

    private readonly NetworkHost[] _hosts;
    private readonly TimeSpan _delay;
    private readonly double _loss;
    private readonly BlockingCollection<(long Due, NetworkHost Host, byte[] Packet)> _underWay = [];
    private readonly Thread[] _receivers;
    private readonly Thread _deliverer;
    private volatile NetworkHost? _cutOff;
    private volatile bool _isDisposed;
    private long _lost;

    /// <param name="delay">Of each packet, one way.</param>
    /// <param name="loss">Part of the packets, chosen by a seed.</param>
    public Switch(NetworkHost[] hosts, TimeSpan delay, double loss)
    {
        (_hosts, _delay, _loss) = (hosts, delay, loss);
        _receivers = [.. hosts.Select((host, number) => new Thread(() => Receive(host, new Random(number))) { IsBackground = true, Name = $"from {host.Name}" })];
        _deliverer = new Thread(Deliver) { IsBackground = true, Name = "deliver" };
        foreach (Thread thread in _receivers.Append(_deliverer))
            thread.Start();
    }

    /// <summary>Packets lost so far, to chance or to a cut.</summary>
    public long Lost => Volatile.Read(ref _lost);

    /// <summary>From now on nothing reaches this host and nothing leaves it; null: all are joined.</summary>
    public void CutOff(NetworkHost? host) => _cutOff = host;

    public void Dispose()
    {
        _isDisposed = true;
        foreach (Thread receiver in _receivers)
            receiver.Join();
        _underWay.CompleteAdding();
        _deliverer.Join();
        _underWay.Dispose();
    }

    private void Receive(NetworkHost sender, Random chance)
    {
        byte[] buffer = new byte[NetworkHost.MaxPacket];
        while (!_isDisposed)
        {
            int length = sender.Receive(buffer, milliseconds: 50);
            if (length <= Destination + 4 || buffer[0] >> 4 != 4)
                continue;
            string address = string.Join('.', buffer.AsSpan(Destination, 4).ToArray());
            if (_hosts.FirstOrDefault(host => host.Address == address) is not { } receiver)
                continue;
            if (sender == _cutOff || receiver == _cutOff || chance.NextDouble() < _loss)
                Interlocked.Increment(ref _lost);
            else
                _underWay.Add((Stopwatch.GetTimestamp() + (long)(_delay.TotalSeconds * Stopwatch.Frequency), receiver, buffer[..length]));
        }
    }

    /// <summary>All packets take the same time, so they arrive in the order in which they left.</summary>
    private void Deliver()
    {
        foreach ((long due, NetworkHost host, byte[] packet) in _underWay.GetConsumingEnumerable())
        {
            TimeSpan wait = Stopwatch.GetElapsedTime(Stopwatch.GetTimestamp(), due);
            if (wait > TimeSpan.Zero && !_isDisposed)
                Thread.Sleep(wait);
            host.Deliver(packet);
        }
    }
}
