using System.Collections.Concurrent;
using Distributed.Coordinator.Training;
using Distributed.Protos;
using Distributed.Reduction;

namespace Distributed.Coordinator.Hosting;

/// <summary>Events for the partials that a worker sends over gRPC, used again when the step loop has done with them.</summary>
internal sealed class GrpcArrivals(int worker)
{
    private readonly ConcurrentQueue<Arrival> _free = new();

    /// <param name="frame">A partial's, with an id; the event's from now on.</param>
    public PartialArrived Create(Frame<WorkerMessage> frame)
    {
        Arrival arrival = _free.TryDequeue(out Arrival? free) ? free : new Arrival(this, worker);
        return arrival.Begin(frame);
    }

    private sealed class Arrival(GrpcArrivals owner, int worker) : IDisposable
    {
        private readonly PartialArrived _event = new(worker);
        private Frame<WorkerMessage>? _frame;

        public PartialArrived Begin(Frame<WorkerMessage> frame)
        {
            _frame = frame;
            WorkerEvents.Fill(_event, frame.Message.Partial, frame.Vector);
            _event.Wire = frame.IsBfloat16 ? WirePrecision.Bf16 : WirePrecision.Float32;
            _event.Exchangeable = frame.Received as PooledVector;
            _event.Lent = this;
            return _event;
        }

        /// <summary>The event has been handled.</summary>
        public void Dispose()
        {
            (_event.Gradient, _event.Exchangeable, _event.Lent) = (default, null, null);
            _frame!.Release();
            _frame = null;
            owner._free.Enqueue(this);
        }
    }
}
