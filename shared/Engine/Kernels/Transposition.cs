using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Distributed.Engine.Kernels;

/// <summary>
/// target[j, i] = source[i, j]. Moves blocks of 4x4 through four registers of four lanes, which every processor has; rows
/// and columns left over go one by one. Nothing is computed, so the bits are the source's.
/// </summary>
internal static unsafe class Transposition
{
    private const int Block = 4;

    /// <param name="rows">Of the source.</param>
    /// <param name="columns">Of the source.</param>
    public static void Run(float* source, nint sourceStride, int rows, int columns, float* target, nint targetStride)
    {
        int wholeRows = rows / Block * Block, wholeColumns = columns / Block * Block;
        for (int j = 0; j < wholeColumns; j += Block)
        {
            for (int i = 0; i < wholeRows; i += Block)
                MoveBlock(source + (i * sourceStride) + j, sourceStride, target + (j * targetStride) + i, targetStride);
        }

        for (int i = 0; i < rows; i++)
        {
            for (int j = i < wholeRows ? wholeColumns : 0; j < columns; j++)
                target[(j * targetStride) + i] = source[(i * sourceStride) + j];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MoveBlock(float* source, nint sourceStride, float* target, nint targetStride)
    {
        Vector128<float> row0 = Vector128.Load(source), row1 = Vector128.Load(source + sourceStride);
        Vector128<float> row2 = Vector128.Load(source + (2 * sourceStride)), row3 = Vector128.Load(source + (3 * sourceStride));
        (Vector128<float> low02, Vector128<float> high02) = Interleave(row0, row2);
        (Vector128<float> low13, Vector128<float> high13) = Interleave(row1, row3);
        (row0, row1) = Interleave(low02, low13);
        (row2, row3) = Interleave(high02, high13);
        row0.Store(target);
        row1.Store(target + targetStride);
        row2.Store(target + (2 * targetStride));
        row3.Store(target + (3 * targetStride));
    }

    /// <summary>a0 b0 a1 b1, a2 b2 a3 b3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector128<float> Low, Vector128<float> High) Interleave(Vector128<float> a, Vector128<float> b) =>
        Sse.IsSupported ? (Sse.UnpackLow(a, b), Sse.UnpackHigh(a, b))
        : AdvSimd.Arm64.IsSupported ? (AdvSimd.Arm64.ZipLow(a, b), AdvSimd.Arm64.ZipHigh(a, b))
        : (Vector128.Create(a[0], b[0], a[1], b[1]), Vector128.Create(a[2], b[2], a[3], b[3]));
}
