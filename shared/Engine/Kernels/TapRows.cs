using System.Runtime.CompilerServices;

namespace Distributed.Engine.Kernels;

/// <summary>Accumulators for the three taps of one row of a 3x3 kernel.</summary>
internal unsafe struct TapRow<TRow>(TRow left, TRow middle, TRow right)
    where TRow : unmanaged, ILanes<TRow>
{
    private TRow _left = left, _middle = middle, _right = right;

    public static TapRow<TRow> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(TRow.Zero, TRow.Zero, TRow.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TapRow<TRow> Load(float* source, nint stride) =>
        new(TRow.Load(source), TRow.Load(source + stride), TRow.Load(source + (2 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* destination, nint stride)
    {
        TRow.Store(destination, _left);
        TRow.Store(destination + stride, _middle);
        TRow.Store(destination + (2 * stride), _right);
    }

    /// <summary>Adds gradient times the rows at x, x + stride, x + 2 stride.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddRows(TRow gradient, float* x, nint stride)
    {
        TRow.Accumulate(ref _left, gradient, x);
        TRow.Accumulate(ref _middle, gradient, x + stride);
        TRow.Accumulate(ref _right, gradient, x + (2 * stride));
    }

    /// <summary>Adds gradient times, for each of the three taps, what it meets at x, one to the right, one below, or both, as the index says.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddPicked(TRow gradient, float* x, nint rowStride, TRow index)
    {
        TRow.Accumulate(ref _left, gradient, TRow.Pick(x, x + rowStride, index));
        TRow.Accumulate(ref _middle, gradient, TRow.Pick(x + 1, x + rowStride + 1, index));
        TRow.Accumulate(ref _right, gradient, TRow.Pick(x + 2, x + rowStride + 2, index));
    }
}

/// <summary>Accumulators for all nine taps.</summary>
internal unsafe struct KernelSums<TRow>
    where TRow : unmanaged, ILanes<TRow>
{
    private TapRow<TRow> _top, _middle, _bottom;

    public static KernelSums<TRow> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new() { _top = TapRow<TRow>.Zero, _middle = TapRow<TRow>.Zero, _bottom = TapRow<TRow>.Zero };
    }

    /// <summary>Nine rows, one behind the other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static KernelSums<TRow> Load(float* source, nint stride) => new()
    {
        _top = TapRow<TRow>.Load(source, stride),
        _middle = TapRow<TRow>.Load(source + (3 * stride), stride),
        _bottom = TapRow<TRow>.Load(source + (6 * stride), stride),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* destination, nint stride)
    {
        _top.Store(destination, stride);
        _middle.Store(destination + (3 * stride), stride);
        _bottom.Store(destination + (6 * stride), stride);
    }

    /// <summary>Adds gradient times the rows of the 3x3 pixels that begin at x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddRows(TRow gradient, float* x, nint rowStride, nint channelStride)
    {
        _top.AddRows(gradient, x, channelStride);
        _middle.AddRows(gradient, x + rowStride, channelStride);
        _bottom.AddRows(gradient, x + (2 * rowStride), channelStride);
    }

    /// <summary>The same for all nine taps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddPicked(TRow gradient, float* x, nint rowStride, TRow index)
    {
        _top.AddPicked(gradient, x, rowStride, index);
        _middle.AddPicked(gradient, x + rowStride, rowStride, index);
        _bottom.AddPicked(gradient, x + (2 * rowStride), rowStride, index);
    }
}

/// <summary>Accumulators for one row of the 4x4 patch of pixels under a 2x2 window of 3x3 convolutions.</summary>
internal unsafe struct PatchRow<TRow>(TRow first, TRow second, TRow third, TRow fourth)
    where TRow : unmanaged, ILanes<TRow>
{
    private TRow _first = first, _second = second, _third = third, _fourth = fourth;

    public static PatchRow<TRow> Zero
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => new(TRow.Zero, TRow.Zero, TRow.Zero, TRow.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PatchRow<TRow> Load(float* source, nint stride) =>
        new(TRow.Load(source), TRow.Load(source + stride), TRow.Load(source + (2 * stride)), TRow.Load(source + (3 * stride)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(float* destination, nint stride)
    {
        TRow.Store(destination, _first);
        TRow.Store(destination + stride, _second);
        TRow.Store(destination + (2 * stride), _third);
        TRow.Store(destination + (3 * stride), _fourth);
    }

    /// <summary>The two pixels that the next window of the row does not cover.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void StoreLeft(float* destination, nint stride)
    {
        TRow.Store(destination, _first);
        TRow.Store(destination + stride, _second);
    }

    /// <summary>Under the next window, two pixels on, where nothing was added to the other two yet.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly PatchRow<TRow> Slide() => new(_third, _fourth, TRow.Zero, TRow.Zero);

    /// <summary>The same with what was added to them already.</summary>
    /// <param name="source">The next window's first pixel.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly PatchRow<TRow> Slide(float* source, nint stride) =>
        new(_third, _fourth, TRow.Load(source + (2 * stride)), TRow.Load(source + (3 * stride)));

    /// <summary>Adds gradient times the three taps to the pixels under the window's left column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddLeft(TRow gradient, float* taps)
    {
        TRow.Accumulate(ref _first, gradient, taps);
        TRow.Accumulate(ref _second, gradient, taps + TRow.Count);
        TRow.Accumulate(ref _third, gradient, taps + (2 * TRow.Count));
    }

    /// <summary>The same for the right column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void AddRight(TRow gradient, float* taps)
    {
        TRow.Accumulate(ref _second, gradient, taps);
        TRow.Accumulate(ref _third, gradient, taps + TRow.Count);
        TRow.Accumulate(ref _fourth, gradient, taps + (2 * TRow.Count));
    }
}
