using System.Text.Json;
using System.Text.Json.Serialization;

namespace Distributed.Coordinator.Status;

/// <summary>Writes an enum's members as strings in snake case.</summary>
internal sealed class SnakeCaseEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false)
    where T : struct, Enum;
