namespace Distributed.Engine.Kernels;

/// <summary>Brings one step's weights into the layouts that kernels read: columns padded with zeros to whole lines.</summary>
internal static unsafe class WeightPacking
{
    /// <summary>(rows, columns) to (rows, padded columns). The padding of <paramref name="packed"/> is zero already and stays so.</summary>
    public static void PadColumns(float* weights, int rows, int columns, float* packed, int paddedColumns)
    {
        if (columns == paddedColumns)
        {
            new ReadOnlySpan<float>(weights, checked(rows * columns)).CopyTo(new Span<float>(packed, rows * columns));
            return;
        }

        for (nint row = 0; row < rows; row++)
            new ReadOnlySpan<float>(weights + (row * columns), columns).CopyTo(new Span<float>(packed + (row * paddedColumns), columns));
    }

    /// <summary>For each of <paramref name="taps"/> matrices (rows, columns) to (columns, padded rows).</summary>
    public static void Transpose(float* weights, int taps, int rows, int columns, float* packed, int paddedRows)
    {
        for (nint tap = 0; tap < taps; tap++)
            Transposition.Run(weights + (tap * rows * columns), columns, rows, columns, packed + (tap * columns * paddedRows), paddedRows);
    }
}
