namespace Distributed.Reduction;

/// <summary>--wire: what weights and gradients are rounded to before they may travel.</summary>
public enum WirePrecision
{
    /// <summary>They are not rounded.</summary>
    Float32,

    /// <summary>bfloat16: half the bytes, float32's range and 8 of its 24 significant bits.</summary>
    Bf16,
}

/// <summary>The words for it.</summary>
public static class WirePrecisions
{
    /// <summary>As on the command line.</summary>
    public static string Word(this WirePrecision precision) => precision == WirePrecision.Bf16 ? "bf16" : "float32";

    /// <summary>Bytes of a value on the wire.</summary>
    public static int ValueBytes(this WirePrecision precision) => precision == WirePrecision.Bf16 ? sizeof(ushort) : sizeof(float);

    /// <exception cref="ConfigurationException">It is no such word.</exception>
    public static WirePrecision Parse(string word) => word switch
    {
        "float32" => WirePrecision.Float32,
        "bf16" => WirePrecision.Bf16,
        _ => throw new ConfigurationException($"--wire must be float32 or bf16, not '{word}'"),
    };
}
