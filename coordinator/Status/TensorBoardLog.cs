using Distributed.Coordinator.Training;

namespace Distributed.Coordinator.Status;

/// <summary>
/// Writes a run's loss, accuracy and throughput to event files as it goes, in the folders and under the names that Keras
/// uses: train and validation, epoch_loss and epoch_accuracy over epochs, batch_loss and batch_accuracy over steps.
/// </summary>
internal sealed class TensorBoardLog : IAsyncDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly RunMonitor _monitor;
    private readonly TensorBoardFile _train, _validation;
    private readonly TextWriter _notices;
    private readonly TimeProvider _time;
    private readonly PeriodicTimer _timer = new(Interval);
    private readonly Task _writing;
    private long _step;
    private int _epochs;

    private TensorBoardLog(RunMonitor monitor, TensorBoardFile train, TensorBoardFile validation, TextWriter notices, TimeProvider time)
    {
        (_monitor, _train, _validation, _notices, _time) = (monitor, train, validation, notices, time);
        _writing = WriteAsync();
    }

    /// <exception cref="RunFailedException">The files cannot be made.</exception>
    public static TensorBoardLog Start(string directory, RunMonitor monitor, TextWriter notices, TimeProvider time)
    {
        try
        {
            TensorBoardFile train = TensorBoardFile.Create(Path.Combine(directory, "train"), time.GetUtcNow());
            return new TensorBoardLog(monitor, train, TensorBoardFile.Create(Path.Combine(directory, "validation"), time.GetUtcNow()), notices, time);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new RunFailedException($"{directory} cannot be written: {exception.Message}", exception);
        }
    }

    /// <summary>Writes what is still to be written.</summary>
    public async ValueTask DisposeAsync()
    {
        _timer.Dispose();
        await _writing.ConfigureAwait(false);
        Close(_train);
        Close(_validation);
    }

    private static void Close(TensorBoardFile file)
    {
        try
        {
            file.Dispose();
        }
        catch (IOException)
        {
            // What could not be written before cannot be flushed now; it was said then.
        }
    }

    private async Task WriteAsync()
    {
        try
        {
            while (await _timer.WaitForNextTickAsync().ConfigureAwait(false))
                WriteNew();
            WriteNew();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A full disk is not to end a run that needs it only for this.
            _notices.WriteLine($"no more TensorBoard events: {exception.Message}");
        }
    }

    private void WriteNew()
    {
        DateTimeOffset now = _time.GetUtcNow();
        CurveDocument curve = _monitor.Curve.Read();
        for (int i = 0; i < curve.Step.Length; i++)
        {
            if (curve.Step[i] <= _step)
                continue;
            _step = curve.Step[i];
            _train.Write(now, _step, ("batch_loss", curve.Loss[i]), ("batch_accuracy", curve.Accuracy[i]), ("images_per_second", curve.ImagesPerSecond[i]));
        }

        foreach (EpochReport epoch in _monitor.Picture.History.AsSpan()[_epochs..])
        {
            _epochs++;
            _train.Write(now, epoch.Epoch, ("epoch_loss", epoch.Loss), ("epoch_accuracy", epoch.Accuracy), ("epoch_images_per_second", epoch.ImagesPerSecond));
            _validation.Write(now, epoch.Epoch, ("epoch_loss", epoch.TestLoss), ("epoch_accuracy", epoch.TestAccuracy));
        }

        _train.Flush();
        _validation.Flush();
    }
}
