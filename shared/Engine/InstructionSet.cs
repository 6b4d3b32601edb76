using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;

namespace Distributed.Engine;

/// <summary>The vector units that the kernels are compiled for. All give the same bits; they differ in speed alone.</summary>
public enum InstructionSet
{
    /// <summary>One lane; multiply-add by the C library where the processor's own is switched off.</summary>
    Scalar,

    /// <summary>Four lanes: Arm64 AdvSimd, or x86 without AVX2.</summary>
    Vector128,

    /// <summary>Eight lanes: AVX2 with FMA.</summary>
    Avx2,

    /// <summary>Sixteen lanes: AVX-512.</summary>
    Avx512,
}

public static class InstructionSets
{
    /// <summary>The widest that this process may use; the runtime's own switches (DOTNET_EnableAVX512=0 and so on) narrow it.</summary>
    public static InstructionSet Best =>
        Vector512.IsHardwareAccelerated ? InstructionSet.Avx512
        : Vector256.IsHardwareAccelerated && System.Runtime.Intrinsics.X86.Fma.IsSupported ? InstructionSet.Avx2
        : Vector128.IsHardwareAccelerated ? InstructionSet.Vector128
        : InstructionSet.Scalar;

    /// <summary>The name shown to people: AVX-512, AVX2, AdvSimd, SSE or scalar.</summary>
    public static string DisplayName(this InstructionSet set) => set switch
    {
        InstructionSet.Avx512 => "AVX-512",
        InstructionSet.Avx2 => "AVX2",
        InstructionSet.Vector128 => AdvSimd.IsSupported ? "AdvSimd" : "SSE",
        _ => "scalar",
    };
}
