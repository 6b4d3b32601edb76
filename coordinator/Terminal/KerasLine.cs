using System.Globalization;
using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Terminal;

/// <summary>The line that Keras prints at the end of an epoch with verbose=2.</summary>
internal static class KerasLine
{
    /// <summary>938/938 - 2s - 2ms/step - accuracy: 0.9440 - loss: 0.1766 - val_accuracy: 0.9712 - val_loss: 0.0912</summary>
    public static string Format(EpochReport epoch) => string.Create(
        CultureInfo.InvariantCulture,
        $"{epoch.Steps}/{epoch.StepsPerEpoch} - {epoch.Seconds:0}s - {PerStep(epoch.Seconds / epoch.Steps)} - accuracy: {epoch.Accuracy:0.0000} - loss: {epoch.Loss:0.0000} - val_accuracy: {epoch.TestAccuracy:0.0000} - val_loss: {epoch.TestLoss:0.0000}");

    private static string PerStep(double seconds) =>
        seconds >= 1 ? $"{seconds:0}s/step"
        : seconds >= 1e-3 ? $"{seconds * 1e3:0}ms/step"
        : $"{seconds * 1e6:0}us/step";
}
