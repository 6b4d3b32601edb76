using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Distributed.Engine.Kernels;

/// <summary>
/// target[j, i] = source[i, j]. A block is four columns x as many rows as a register has floats, in four registers: the first
/// takes four floats each of rows i, i + 4, i + 8 and so on, the second those of the rows below, and interleaving makes each
/// a column, stored in one piece. Rows left over go through narrower registers, the last ones float by float, as do
/// columns left over. Bound by loads and shuffles, or by the second cache. Nothing is computed, so the bits are the source's.
/// </summary>
internal static unsafe class Transposition
{
    private const int Block = 4;

    /// <summary>A register of fours.</summary>
    private interface IFours<TSelf>
        where TSelf : unmanaged, IFours<TSelf>
    {
        /// <summary>Floats in it.</summary>
        static abstract int Count { get; }

        /// <summary>Four floats from each of some rows.</summary>
        static abstract TSelf Load(float* source, nint stride);

        static abstract void Store(float* target, TSelf value);

        /// <summary>In each of its fours a0 b0 a1 b1, and a2 b2 a3 b3.</summary>
        static abstract (TSelf Low, TSelf High) Interleave(TSelf a, TSelf b);
    }

    /// <param name="rows">Of the source.</param>
    /// <param name="columns">Of the source.</param>
    public static void Run(float* source, nint sourceStride, int rows, int columns, float* target, nint targetStride)
    {
        int row = 0, wholeColumns = columns / Block * Block;
        if (Vector512.IsHardwareAccelerated)
            row = MoveBlocks<Fours512>(source, sourceStride, row, rows, wholeColumns, target, targetStride);
        if (Vector256.IsHardwareAccelerated)
            row = MoveBlocks<Fours256>(source, sourceStride, row, rows, wholeColumns, target, targetStride);
        row = MoveBlocks<Fours128>(source, sourceStride, row, rows, wholeColumns, target, targetStride);
        for (nint j = wholeColumns; j < columns; j++)
        {
            for (nint i = 0; i < row; i++)
                target[(j * targetStride) + i] = source[(i * sourceStride) + j];
        }

        for (nint i = row; i < rows; i++)
        {
            for (nint j = 0; j < columns; j++)
                target[(j * targetStride) + i] = source[(i * sourceStride) + j];
        }
    }

    /// <summary>Moves whole registers of rows, from one on, and returns the first that is left over.</summary>
    private static int MoveBlocks<TFours>(
        float* source, nint sourceStride, int row, int rows, int columns, float* target, nint targetStride)
        where TFours : unmanaged, IFours<TFours>
    {
        for (; row + TFours.Count <= rows; row += TFours.Count)
        {
            float* from = source + (row * sourceStride), to = target + row;
            for (float* end = from + columns; from < end; from += Block, to += Block * targetStride)
                MoveBlock<TFours>(from, sourceStride, to, targetStride);
        }

        return row;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MoveBlock<TFours>(float* source, nint sourceStride, float* target, nint targetStride)
        where TFours : unmanaged, IFours<TFours>
    {
        nint apart = Block * sourceStride;
        TFours row0 = TFours.Load(source, apart), row1 = TFours.Load(source + sourceStride, apart);
        TFours row2 = TFours.Load(source + (2 * sourceStride), apart), row3 = TFours.Load(source + (3 * sourceStride), apart);
        (TFours low02, TFours high02) = TFours.Interleave(row0, row2);
        (TFours low13, TFours high13) = TFours.Interleave(row1, row3);
        (row0, row1) = TFours.Interleave(low02, low13);
        (row2, row3) = TFours.Interleave(high02, high13);
        TFours.Store(target, row0);
        TFours.Store(target + targetStride, row1);
        TFours.Store(target + (2 * targetStride), row2);
        TFours.Store(target + (3 * targetStride), row3);
    }

    private readonly struct Fours512(Vector512<float> value) : IFours<Fours512>
    {
        private readonly Vector512<float> _value = value;

        public static int Count => 16;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Fours512 Load(float* source, nint stride) =>
            new(Vector512.Create(Fours256.Load(source, stride).Value, Fours256.Load(source + (2 * stride), stride).Value));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(float* target, Fours512 value) => value._value.Store(target);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Fours512 Low, Fours512 High) Interleave(Fours512 a, Fours512 b) =>
            (new(Avx512F.UnpackLow(a._value, b._value)), new(Avx512F.UnpackHigh(a._value, b._value)));
    }

    private readonly struct Fours256(Vector256<float> value) : IFours<Fours256>
    {
        public static int Count => 8;

        public Vector256<float> Value { get; } = value;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Fours256 Load(float* source, nint stride) => new(Vector256.Create(Vector128.Load(source), Vector128.Load(source + stride)));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(float* target, Fours256 value) => value.Value.Store(target);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Fours256 Low, Fours256 High) Interleave(Fours256 a, Fours256 b) =>
            (new(Avx.UnpackLow(a.Value, b.Value)), new(Avx.UnpackHigh(a.Value, b.Value)));
    }

    private readonly struct Fours128(Vector128<float> value) : IFours<Fours128>
    {
        private readonly Vector128<float> _value = value;

        public static int Count => 4;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Fours128 Load(float* source, nint stride) => new(Vector128.Load(source));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static void Store(float* target, Fours128 value) => value._value.Store(target);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Fours128 Low, Fours128 High) Interleave(Fours128 a, Fours128 b) =>
            Sse.IsSupported ? (new(Sse.UnpackLow(a._value, b._value)), new(Sse.UnpackHigh(a._value, b._value)))
            : AdvSimd.Arm64.IsSupported ? (new(AdvSimd.Arm64.ZipLow(a._value, b._value)), new(AdvSimd.Arm64.ZipHigh(a._value, b._value)))
            : (new(Vector128.Create(a._value[0], b._value[0], a._value[1], b._value[1])),
                new(Vector128.Create(a._value[2], b._value[2], a._value[3], b._value[3])));
    }
}
