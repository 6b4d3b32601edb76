using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.Arm;

namespace Distributed.Engine.Kernels;

/// <summary>How many vector registers a tile may fill: 32 with AVX-512 and on Arm64, else 16. Constants to the JIT.</summary>
internal static class VectorRegisters
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool AreMany<TLanes>()
        where TLanes : unmanaged, ILanes<TLanes> => TLanes.Count >= 16 || AdvSimd.IsSupported;
}
