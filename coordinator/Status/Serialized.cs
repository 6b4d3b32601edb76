using System.Diagnostics;
using System.Text.Json;

namespace Distributed.Coordinator.Status;

/// <summary>
/// The status as bytes, made once for all who ask within the same moment: however many readers there are and however
/// often they ask, the work is that of a few documents a second.
/// </summary>
internal sealed class Serialized(StatusComposer composer)
{
    private static readonly TimeSpan Freshness = TimeSpan.FromMilliseconds(40);

    private readonly Lock _lock = new();
    private byte[]? _status;
    private long _made;

    /// <summary>A status not older than <see cref="Freshness"/>.</summary>
    public byte[] Status()
    {
        lock (_lock)
        {
            if (_status is null || Stopwatch.GetElapsedTime(_made) > Freshness)
            {
                _made = Stopwatch.GetTimestamp();
                _status = JsonSerializer.SerializeToUtf8Bytes(composer.Status(), StatusJson.Default.StatusDocument);
            }

            return _status;
        }
    }

    /// <summary>The status as it is now.</summary>
    public byte[] Latest()
    {
        lock (_lock)
            _status = null;
        return Status();
    }
}
