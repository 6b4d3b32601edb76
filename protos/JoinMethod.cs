using System.Buffers;
using Google.Protobuf;
using Grpc.Core;

namespace Distributed.Protos;

/// <summary>The one call of the protocol, training.proto's Join, with frames for messages.</summary>
public static class JoinMethod
{
    private const string Service = "distributed.training.v1.Training";

    /// <param name="vectors">Gives the memory, exactly so many bytes, that a received vector is read to.</param>
    public static Method<Frame<WorkerMessage>, Frame<CoordinatorMessage>> Create(Func<int, IMemoryOwner<byte>> vectors) =>
        new(
            MethodType.DuplexStreaming,
            Service,
            "Join",
            CreateMarshaller(vectors, FramePools.Partials()),
            CreateMarshaller(vectors, FramePools.Steps(), FramePools.Weights()));

    private static Marshaller<Frame<TMessage>> CreateMarshaller<TMessage>(Func<int, IMemoryOwner<byte>> vectors, params FramePool<TMessage>[] frames)
        where TMessage : class, IMessage<TMessage>, new() =>
        Marshallers.Create(
            static (frame, context) =>
            {
                context.SetPayloadLength(frame.Size);
                FrameFormat.Write(frame, context.GetBufferWriter());
                context.Complete();
            },
            context => FrameFormat.Read(context.PayloadAsReadOnlySequence(), vectors, frames));
}
