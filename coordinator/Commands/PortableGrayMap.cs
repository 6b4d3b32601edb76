namespace Distributed.Coordinator.Commands;

/// <summary>A PGM image, plain (P2) or raw (P5), brought to 8 bits a pixel (https://netpbm.sourceforge.net/doc/pgm.html).</summary>
internal sealed record PortableGrayMap(int Width, int Height, byte[] Pixels)
{
    private const int MaxExtent = 1 << 15;

    public static bool IsOne(ReadOnlySpan<byte> content) => content.StartsWith("P2"u8) || content.StartsWith("P5"u8);

    /// <exception cref="ConfigurationException">The file is damaged.</exception>
    public static PortableGrayMap Parse(string path, ReadOnlySpan<byte> content)
    {
        bool isRaw = content[1] == '5';
        int position = 2;
        int width = ReadNumber(path, content, ref position, 1, MaxExtent, "width");
        int height = ReadNumber(path, content, ref position, 1, MaxExtent, "height");
        int white = ReadNumber(path, content, ref position, 1, 65535, "maximum");
        long count = (long)width * height;
        int size = isRaw && white > 255 ? 2 : 1;
        // One white space ends the header of a raw file; a plain file has at least a digit and a space a pixel.
        long needed = isRaw ? 1 + (count * size) : (count * 2) - 1;
        if (content.Length - position < needed)
            throw Fault(path, $"truncated: {width}x{height} pixels need at least {needed:N0} bytes, {content.Length - position:N0} follow the header");

        byte[] pixels = new byte[count];
        position += isRaw ? 1 : 0;
        for (int i = 0; i < pixels.Length; i++)
        {
            int value;
            if (!isRaw)
            {
                value = ReadNumber(path, content, ref position, 0, white, "pixel");
            }
            else
            {
                value = size == 1 ? content[position] : (content[position] << 8) | content[position + 1];
                position += size;
                if (value > white)
                    throw Fault(path, $"a pixel of {value}, more than its maximum {white}");
            }

            pixels[i] = (byte)(((value * 255L) + (white / 2)) / white);
        }

        return new PortableGrayMap(width, height, pixels);
    }

    private static int ReadNumber(string path, ReadOnlySpan<byte> content, ref int position, int min, int max, string what)
    {
        while (position < content.Length && (char.IsWhiteSpace((char)content[position]) || content[position] == '#'))
        {
            if (content[position] == '#')
            {
                while (position < content.Length && content[position] is not ((byte)'\n' or (byte)'\r'))
                    position++;
            }
            else
            {
                position++;
            }
        }

        long value = 0;
        int start = position;
        while (position < content.Length && char.IsAsciiDigit((char)content[position]) && value <= max)
            value = (value * 10) + (content[position++] - '0');
        if (position == start)
            throw Fault(path, position == content.Length ? $"truncated: its {what} is missing" : $"its {what} is not a number");
        return value >= min && value <= max ? (int)value : throw Fault(path, $"its {what} is out of range; expected {min} to {max}");
    }

    private static ConfigurationException Fault(string path, string fault) => new($"{path}: not a valid PGM file: {fault}");
}
