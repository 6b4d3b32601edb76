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
        // Blocks of a line either way: a column at a time would touch a line of the source for each single value.
        const int Block = ArenaPlan.Alignment;
        for (nint tap = 0; tap < taps; tap++)
        {
            float* source = weights + (tap * rows * columns), target = packed + (tap * columns * paddedRows);
            for (int firstRow = 0; firstRow < rows; firstRow += Block)
            {
                int endRow = Math.Min(firstRow + Block, rows);
                for (nint column = 0; column < columns; column++)
                {
                    for (nint row = firstRow; row < endRow; row++)
                        target[(column * paddedRows) + row] = source[(row * columns) + column];
                }
            }
        }
    }
}
