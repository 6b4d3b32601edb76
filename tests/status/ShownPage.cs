using System.Collections.Concurrent;
using Deque.AxeCore.Commons;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;

namespace Distributed.Tests.Status;

/// <summary>The dashboard in a browser, and everything that it asked for and complained of.</summary>
public sealed class ShownPage : IAsyncDisposable
{
    /// <summary>Where to leave pictures of what tests see; nowhere unless set.</summary>
    private const string PicturesVariable = "STATUS_PICTURES";

    private readonly ConcurrentQueue<string> _complaints = new(), _requests = new();
    private readonly IBrowserContext _context;
    private readonly Uri _address;

    public ShownPage(IBrowserContext context, IPage page, Uri address)
    {
        (_context, Page, _address) = (context, page, address);
        // A hang guard, not an expectation.
        page.SetDefaultTimeout(120_000);
        page.Console += (_, message) =>
        {
            if (message.Type is "error" or "warning")
                _complaints.Enqueue($"{message.Type}: {message.Text}");
        };
        page.PageError += (_, error) => _complaints.Enqueue(error);
        page.Request += (_, request) => _requests.Enqueue(request.Url);
    }

    public IPage Page { get; }

    public Task<string> TextAsync(string selector) => Page.Locator(selector).InnerTextAsync();

    /// <summary>Waits for a condition written in the page's own language.</summary>
    public Task UntilAsync(string condition) => Page.WaitForFunctionAsync($"() => {condition}");

    public Task UntilStateAsync(string state) => UntilAsync($"document.getElementById('state').textContent === '{state}'");

    /// <summary>Steps that the loss curve reaches, as it tells those who cannot see it.</summary>
    public Task<int> CurveStepsAsync() => Page.EvaluateAsync<int>("Number(document.getElementById('loss-chart').getAttribute('aria-label').match(/(\\d+) steps/)?.[1] ?? 0)");

    /// <summary>Nothing on the console, and nothing from elsewhere.</summary>
    public void CheckClean()
    {
        Assert.Empty(_complaints);
        Assert.NotEmpty(_requests);
        Assert.All(_requests, url => Assert.StartsWith(_address.IsFile ? "file:" : _address.AbsoluteUri, url, StringComparison.Ordinal));
    }

    /// <summary>No fault of levels A and AA that axe finds, in either theme.</summary>
    public async Task CheckAccessibilityAsync()
    {
        foreach (ColorScheme colours in new[] { ColorScheme.Light, ColorScheme.Dark })
        {
            await Page.EmulateMediaAsync(new() { ColorScheme = colours });
            AxeResult result = await Page.RunAxe(new AxeRunOptions { RunOnly = new RunOnlyOptions { Type = "tag", Values = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] } });
            Assert.True(
                result.Violations.Length == 0,
                string.Join('\n', result.Violations.Select(violation => $"{colours}: {violation.Id} ({violation.Impact}): {string.Join(", ", violation.Nodes.Select(static node => node.Html))}")));
        }

        await Page.EmulateMediaAsync(new() { ColorScheme = ColorScheme.Null });
    }

    public async Task PictureAsync(string name)
    {
        if (Environment.GetEnvironmentVariable(PicturesVariable) is { Length: > 0 } directory)
            await Page.ScreenshotAsync(new() { Path = Path.Combine(directory, $"{name}.png"), FullPage = true });
    }

    public async ValueTask DisposeAsync() => await _context.DisposeAsync();
}
