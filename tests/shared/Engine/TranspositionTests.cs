using System.Runtime.InteropServices;
using Distributed.Engine.Kernels;

namespace Distributed.Tests.Engine;

/// <summary>Every size around the registers' edges, between strides of their own.</summary>
public sealed unsafe class TranspositionTests
{
    private const int Largest = 65, SourceStride = Largest + 2, TargetStride = Largest + 3;

    [Fact]
    public void Run_AnySize_MovesEveryBitAndNothingElse()
    {
        // Any bits, not just those of numbers.
        byte[] bytes = new byte[Largest * SourceStride * sizeof(float)];
        new Random(1).NextBytes(bytes);
        int[] source = MemoryMarshal.Cast<byte, int>(bytes).ToArray(), target = new int[Largest * TargetStride];
        for (int rows = 0; rows <= Largest; rows++)
        {
            for (int columns = 0; columns <= Largest; columns++)
            {
                Array.Clear(target);
                fixed (int* from = source, to = target)
                    Transposition.Run((float*)from, SourceStride, rows, columns, (float*)to, TargetStride);
                for (int i = 0; i < target.Length; i++)
                {
                    (int row, int column) = (i % TargetStride, i / TargetStride);
                    int expected = row < rows && column < columns ? source[(row * SourceStride) + column] : 0;
                    if (target[i] != expected)
                        Assert.Fail($"{rows} rows, {columns} columns: at row {row}, column {column}");
                }
            }
        }
    }
}
