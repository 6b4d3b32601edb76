using Microsoft.Playwright;

namespace Distributed.Tests.Status;

/// <summary>Debian's Chromium, started once for a class of tests; where there is none, its tests are skipped.</summary>
public sealed class Browser : IAsyncLifetime
{
    private static readonly string[] Names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

    private IPlaywright? _playwright;
    private IBrowser? _browser;

    private static string? Path { get; } = Programs.Find(Names);

    public async ValueTask InitializeAsync()
    {
        if (Path is null)
            return;
        _playwright = await Playwright.CreateAsync();
        // In containers one is root and has little shared memory; the pages are our own.
        _browser = await _playwright.Chromium.LaunchAsync(new() { ExecutablePath = Path, Args = ["--no-sandbox", "--disable-dev-shm-usage"], Timeout = 120_000 });
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
            await _browser.DisposeAsync();
        _playwright?.Dispose();
    }

    /// <summary>A new window at an address, watched.</summary>
    public async Task<ShownPage> OpenAsync(Uri address, ColorScheme colours = ColorScheme.Light, ViewportSize? size = null)
    {
        Assert.SkipWhen(_browser is null, $"needs one of {string.Join(", ", Names)} on PATH");
        IBrowserContext context = await _browser.NewContextAsync(new() { ColorScheme = colours, ViewportSize = size ?? new() { Width = 1280, Height = 900 } });
        ShownPage page = new(context, await context.NewPageAsync(), address);
        await page.Page.GotoAsync(address.AbsoluteUri);
        return page;
    }
}
