using Distributed.Engine.Kernels;
using Distributed.Engine.Operations;
using Distributed.Models;

namespace Distributed.Engine;

/// <summary>What a model becomes: operations in forward order, the loss at the end, and the memory an executor needs.</summary>
/// <param name="WaveMicrobatches">The most microbatches in a wave.</param>
/// <param name="FirstOfWholeWaves">From this operation on a pass carries all of a wave; in front of it, a microbatch.</param>
internal sealed record CompiledNetwork(
    Operation[] Operations, LossOperation Loss, string LossLayer, Plane Images, int ArenaLength, int WaveMicrobatches, int FirstOfWholeWaves);

/// <summary>
/// Turns layers into operations: walks the model once, plans the planes between operations, and picks for each layer,
/// or run of layers, the kernel that fits.
/// </summary>
internal sealed class NetworkCompiler<TLanes>
    where TLanes : unmanaged, ILanes<TLanes>
{
    private readonly ResolvedModel _model;
    private readonly ArenaPlan _arena;
    private readonly List<Operation> _operations = [];
    private readonly int _microbatches, _firstOfWholeWaves;

    private NetworkCompiler(ResolvedModel model, int microbatch, int microbatches)
    {
        _model = model;
        _firstOfWholeWaves = FirstOfWholeWaves(model, microbatch);
        _microbatches = _firstOfWholeWaves < model.Layers.Count ? microbatches : 1;
        _arena = new ArenaPlan(microbatch, _microbatches);
    }

    /// <param name="microbatches">The most in a wave; where nothing would gain by it, a wave is one all the same.</param>
    public static CompiledNetwork Compile(ResolvedModel model, int microbatch, int microbatches) =>
        new NetworkCompiler<TLanes>(model, microbatch, microbatches).Compile();

    /// <summary>
    /// The first layer behind the last pool whose weights are more than a microbatch of its input, provided that so it is for those behind it,
    /// or their input is no larger: from there on reading the weights takes longer than reading what they are multiplied with, and a wave
    /// reads them once. In front of it a microbatch stays in the core's own caches, which a wave would not.
    /// </summary>
    private static int FirstOfWholeWaves(ResolvedModel model, int microbatch)
    {
        IReadOnlyList<ResolvedLayer> layers = model.Layers;
        int behindPools = layers.Count;
        while (behindPools > 0 && layers[behindPools - 1].Definition is not (MaxPooling2D or AveragePooling2D))
            behindPools--;
        int first = behindPools;
        while (first < layers.Count && !(HasMoreWeights(layers[first]) && layers.Skip(first).All(behind => IsNoLarger(behind, layers[first]))))
            first++;
        if (first == layers.Count)
            return first;

        // Layers without weights that stand between come along: they may only look at memory in another shape.
        while (first > behindPools && layers[first - 1].Parameters.Count == 0)
            first--;
        return first;

        bool HasMoreWeights(ResolvedLayer layer) =>
            layer.Parameters.Count > 0 && layer.Parameters[0].Length > (long)microbatch * layer.Input.Length;

        bool IsNoLarger(ResolvedLayer behind, ResolvedLayer layer) =>
            behind.Parameters.Count == 0 || HasMoreWeights(behind) || behind.Input.Length <= layer.Input.Length;
    }

    private CompiledNetwork Compile()
    {
        int firstOfWholeWaves = -1;
        Plane images = _arena.ReserveDensePlane(_model.Input);
        Edge edge = new(images, null);
        for (int i = 0; i < _model.Layers.Count; i++)
        {
            if (i == _firstOfWholeWaves)
            {
                firstOfWholeWaves = _operations.Count;
                _arena.BeginWholeWaves();
            }

            if (i + 1 < _model.Layers.Count && TryAddConvolutionPool(i, edge) is { } pooled)
                (edge, i) = (pooled, i + 1);
            else
                edge = Add(_model.Layers[i], i, edge);
        }

        if (edge.Gradient is null)
            throw new ConfigurationException($"model '{_model.Definition.Name}' has no weights to train");
        LossOperation loss = new SoftmaxCrossEntropy<TLanes>(edge, _arena.ReservePlane(edge.Value.Shape));
        return new CompiledNetwork([.. _operations], loss, _model.Layers[^1].Name, images, _arena.Length, _microbatches, firstOfWholeWaves < 0 ? _operations.Count : firstOfWholeWaves);
    }

    /// <summary>Which layer gets what is planned now: where it takes a whole wave, gradients come from all microbatches, and else from one.</summary>
    private void ExpectNext(int index) => _arena.KeepsGradients = index >= _firstOfWholeWaves;

    private Edge Add(ResolvedLayer layer, int index, Edge input)
    {
        ExpectNext(index + 1);
        switch (layer.Definition)
        {
            case Conv2D conv:
                return AddActivation(
                    layer, index, conv.Activation,
                    AddConvolution(layer, index, input, conv.KernelSize, conv.Strides, conv.Padding, relu: conv.Activation == ActivationKind.Relu));
            case Dense dense:
                return AddActivation(
                    layer, index, dense.Activation,
                    AddConvolution(layer, index, input, new Size2D(1, 1), new Size2D(1, 1), Padding.Valid, relu: dense.Activation == ActivationKind.Relu));
            case ActivationLayer activation:
                return activation.Activation == ActivationKind.Relu
                    ? AddElementwise(layer, ActivationKind.Relu, input)
                    : AddActivation(layer, index, activation.Activation, input);
            case MaxPooling2D pool:
                return AddMaxPooling(layer, pool, input);
            case AveragePooling2D pool:
                return AddAveragePooling(layer, pool, input);
            case Models.Flatten:
                return AddFlatten(layer, input);
            case Models.Dropout dropout:
                return AddDropout(layer, index, dropout, input);
            default:
                throw new ConfigurationException($"layer '{layer.Name}' is of a kind that this engine does not know: {layer.Definition.GetType().Name}");
        }
    }

    private Edge AddConvolution(ResolvedLayer layer, int index, Edge input, Size2D kernel, Size2D strides, Padding padding, bool relu)
    {
        Edge output = _arena.ReserveEdge(layer.Output);
        ConvolutionParameters parameters = ParametersOf(layer, kernel);
        if (kernel == new Size2D(3, 3) && strides == new Size2D(1, 1) && TryAddWinograd(layer, index, input, output, padding, parameters, relu))
            return output;
        ConvolutionGeometry geometry = new(input, output, kernel, strides, padding, _arena);
        return Emit(new Convolution<TLanes>(input, output, geometry, parameters, relu, IsOfWholeWaves(index), _arena) { Layers = layer.Name }, output);
    }

    /// <summary>Conv2D 3x3 with ReLU and the MaxPooling2D 2x2 behind it, as one operation.</summary>
    private Edge? TryAddConvolutionPool(int index, Edge input)
    {
        ResolvedLayer layer = _model.Layers[index], next = _model.Layers[index + 1];
        if (layer.Definition is not Conv2D conv || next.Definition is not MaxPooling2D pool
            || !ConvolutionPool<TLanes>.Fits(conv, pool, input, layer.Output))
        {
            return null;
        }

        ExpectNext(index + 2);
        Edge output = _arena.ReserveEdge(next.Output);
        return Emit(
            new ConvolutionPool<TLanes>(input, output, conv.Padding, ParametersOf(layer, conv.KernelSize), _arena) { Layers = $"{layer.Name} + {next.Name}" },
            output);
    }

    /// <summary>A 3x3 convolution at stride 1 with enough channels on both sides to pay for transforming the tiles.</summary>
    private bool TryAddWinograd(ResolvedLayer layer, int index, Edge input, Edge output, Padding padding, ConvolutionParameters parameters, bool relu)
    {
        const int FewestChannels = 16;
        if (Math.Min(parameters.Channels, parameters.Filters) < FewestChannels || input.Value.ChannelStride % ArenaPlan.Alignment != 0)
            return false;
        bool mayDecideTies = IsPooled(index);
        bool readsInPlace = IsOfWholeWaves(index) && parameters.Filters % ArenaPlan.Alignment == 0;
        int bySquaresOf2 = WinogradConvolution<Winograd2x2, Winograd2x2, TLanes>.CountProducts(layer.Output);
        int bySquaresOf3 = mayDecideTies
            ? WinogradConvolution<Symmetric3x3, Winograd3x3, TLanes>.CountProducts(layer.Output)
            : WinogradConvolution<Winograd3x3, Winograd3x3, TLanes>.CountProducts(layer.Output);
        if (Math.Min(bySquaresOf2, bySquaresOf3) >= parameters.Taps * output.Value.Pixels)
            return false;
        Operation operation = bySquaresOf3 >= bySquaresOf2
            ? new WinogradConvolution<Winograd2x2, Winograd2x2, TLanes>(input, output, padding, parameters, relu, readsInPlace, _arena) { Layers = layer.Name }
            : mayDecideTies
            ? new WinogradConvolution<Symmetric3x3, Winograd3x3, TLanes>(input, output, padding, parameters, relu, readsInPlace, _arena) { Layers = layer.Name }
            : new WinogradConvolution<Winograd3x3, Winograd3x3, TLanes>(input, output, padding, parameters, relu, readsInPlace, _arena) { Layers = layer.Name };
        _operations.Add(operation);
        return true;
    }

    /// <summary>Whether a layer's passes carry whole waves of several microbatches.</summary>
    private bool IsOfWholeWaves(int index) => index >= _firstOfWholeWaves && _microbatches > 1;

    /// <summary>Whether a maximum is taken of a layer's outputs, before anything is multiplied with them.</summary>
    private bool IsPooled(int index) =>
        _model.Layers.Skip(index + 1).TakeWhile(static layer => layer.Definition is not (Conv2D or Dense)).Any(static layer => layer.Definition is MaxPooling2D);

    private static ConvolutionParameters ParametersOf(ResolvedLayer layer, Size2D kernel) =>
        new(layer.Parameters[0].Offset, layer.Parameters[1].Offset, kernel.Height * kernel.Width, layer.Input.Channels, layer.Output.Channels);

    /// <summary>What is not fused already: nothing for linear and relu, the loss for the last layer's softmax, else an operation.</summary>
    private Edge AddActivation(ResolvedLayer layer, int index, ActivationKind activation, Edge input) => activation switch
    {
        ActivationKind.Linear or ActivationKind.Relu => input,
        ActivationKind.Softmax when index == _model.Layers.Count - 1 => input,
        _ => AddElementwise(layer, activation, input),
    };

    private Edge AddElementwise(ResolvedLayer layer, ActivationKind activation, Edge input)
    {
        Edge output = ReserveLike(input);
        return Emit(new Activation<TLanes>(activation, input, output) { Layers = layer.Name }, output);
    }

    private Edge AddMaxPooling(ResolvedLayer layer, MaxPooling2D pool, Edge input)
    {
        Edge output = ReserveOutput(layer.Output, input);
        PoolingWindows windows = new(input.Value, pool.PoolSize, pool.Strides, pool.Padding);
        return Emit(new MaxPooling<TLanes>(input, output, _arena.ReservePlane(layer.Output), windows) { Layers = layer.Name }, output);
    }

    private Edge AddAveragePooling(ResolvedLayer layer, AveragePooling2D pool, Edge input)
    {
        Edge output = ReserveOutput(layer.Output, input);
        PoolingWindows windows = new(input.Value, pool.PoolSize, pool.Strides, pool.Padding);
        return Emit(new AveragePooling<TLanes>(input, output, windows) { Layers = layer.Name }, output);
    }

    private Edge AddDropout(ResolvedLayer layer, int index, Models.Dropout dropout, Edge input)
    {
        Edge output = ReserveLike(input);
        Plane mask = _arena.ReserveLike(input.Value);
        return Emit(new Dropout<TLanes>(dropout.Rate, index, input, output, mask) { Layers = layer.Name }, output);
    }

    private Edge AddFlatten(ResolvedLayer layer, Edge input)
    {
        if (input.Value.IsDense)
            return new Edge(View(input.Value), input.Gradient is null ? null : View(input.Gradient));
        Edge output = ReserveOutput(layer.Output, input);
        return Emit(new Operations.Flatten(input, output) { Layers = layer.Name }, output);

        Plane View(Plane plane) => plane with { Shape = layer.Output, ChannelStride = plane.SampleStride };
    }

    private Edge Emit(Operation operation, Edge output)
    {
        _operations.Add(operation);
        return output;
    }

    /// <summary>An output without weights before it needs no gradient either.</summary>
    private Edge ReserveOutput(SampleShape shape, Edge input) =>
        input.Gradient is null ? new Edge(_arena.ReservePlane(shape), null) : _arena.ReserveEdge(shape);

    private Edge ReserveLike(Edge edge) =>
        new(_arena.ReserveLike(edge.Value), edge.Gradient is null ? null : _arena.ReserveGradient(edge.Value));
}
