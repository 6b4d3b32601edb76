using System.Globalization;
using Distributed.Tests.Cluster;
using Distributed.Tests.Data;
using Microsoft.Playwright;

namespace Distributed.Tests.Status;

/// <summary>The dashboard as people see it.</summary>
[Collection(nameof(ShownRun))]
public sealed class DashboardTests(Browser browser) : IClassFixture<Browser>
{
    private static readonly ViewportSize Phone = new() { Width = 390, Height = 844 };

    [Fact]
    public async Task Page_OfALiveRun_GrowsAndShowsWorkersLostAndTheCoordinatorGone()
    {
        using TinyDataset data = new(train: 3000);
        using TrainingRun files = new();
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "2", "--threads", "1", "--status", "127.0.0.1:0", "--out", files.Out,
            "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "1000000");
        Uri address = await RunTests.StatusAddressAsync(coordinator);
        await using ShownPage page = await browser.OpenAsync(address);

        await page.UntilStateAsync("training");
        await page.UntilAsync("document.querySelectorAll('#worker-table .state-active').length === 2");
        await page.UntilAsync("document.querySelectorAll('#epoch-table tbody tr').length > 1");
        int steps = await page.CurveStepsAsync();
        await page.UntilAsync($"Number(document.getElementById('loss-chart').getAttribute('aria-label').match(/(\\d+) steps/)[1]) > {steps}");
        Assert.NotEqual("–", await page.TextAsync("#loss"));

        ProgramRun.Kill(coordinator.Children()[0]);
        await page.UntilAsync("document.querySelector('#worker-table .state-lost') !== null");
        double shown = await page.Page.EvaluateAsync<double>("Date.now() / 1000");
        string lost = await page.Page.Locator("#events .evicted time").First.GetAttributeAsync("datetime") ?? "";
        double known = DateTimeOffset.Parse(lost, CultureInfo.InvariantCulture).ToUnixTimeMilliseconds() / 1e3;
        TestContext.Current.TestOutputHelper?.WriteLine($"shown {shown - known:0.0} s after the coordinator knew");
        await page.UntilStateAsync("training");
        await page.CheckAccessibilityAsync();
        page.CheckClean();

        ProgramRun.Kill(coordinator.Id);
        await page.UntilStateAsync("gone");
        Assert.Contains("The coordinator is gone", await page.TextAsync("#banner"), StringComparison.Ordinal);
        await page.CheckAccessibilityAsync();
    }

    [Fact]
    public async Task Page_OfAFinishedRun_ShowsTheResultAsTheReportDoes()
    {
        using TinyDataset data = new(train: 96, test: 60);
        using TrainingRun files = new();
        await using ProgramRun coordinator = ProgramRun.Coordinator(
            "train", "--workers", "2", "--threads", "1", "--status", "127.0.0.1:0", "--linger", "--out", files.Out,
            "--dataset", data.Directory, "--model", files.WriteSmallModel(), "--batch-size", "16", "--epochs", "2");
        Uri address = await RunTests.StatusAddressAsync(coordinator);
        await using ShownPage page = await browser.OpenAsync(address);
        await CheckResultAsync(page);
        await page.CheckAccessibilityAsync();
        page.CheckClean();

        await using ShownPage phone = await browser.OpenAsync(address, ColorScheme.Dark, Phone);
        await CheckResultAsync(phone);
        Assert.True(await phone.Page.EvaluateAsync<bool>("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the phone");
        phone.CheckClean();

        coordinator.Signal(PosixSignalNumber.Interrupt);
        await coordinator.SucceedAsync();
        await page.UntilAsync("document.querySelector('#banner.calm:not([hidden])') !== null");
        Assert.Equal("completed", await page.TextAsync("#state"));

        await using ShownPage report = await browser.OpenAsync(new Uri(Path.Combine(files.Out, "report.html")));
        await CheckResultAsync(report);
        Assert.Equal(await page.TextAsync("#weights"), await report.TextAsync("#weights"));
        report.CheckClean();
    }

    [Fact]
    public async Task Page_WithTheWholeCurveBeforeTheResult_StillShowsTheResult()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.MakeSteps();
        await using ShownPage page = await browser.OpenAsync(run.Address);
        await page.UntilStateAsync("evaluating");
        await page.UntilAsync("document.getElementById('loss-chart').getAttribute('aria-label')?.includes('4 steps')");
        run.Score();
        await page.UntilAsync("!document.getElementById('result').hidden");
        Assert.Contains("of 45 test images recognised", await page.TextAsync("#result-text"), StringComparison.Ordinal);
        page.CheckClean();
    }

    [Fact]
    public async Task Page_OfARunThatEndsWithItsCoordinator_StaysOnTheResult()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        await using ShownPage page = await browser.OpenAsync(run.Address);
        await page.UntilStateAsync("waiting");
        run.Train();
        await page.UntilStateAsync("evaluating");
        await run.EndAsync();
        await page.UntilAsync("document.querySelector('#banner.calm:not([hidden])') !== null");
        Assert.Equal("completed", await page.TextAsync("#state"));
        Assert.Equal(4, await page.Page.Locator("#matrix tbody tr").CountAsync());
        Assert.Equal(5, await page.Page.Locator("#mistakes canvas").CountAsync());
        Assert.Equal(4, await page.CurveStepsAsync());
    }

    [Fact]
    public async Task Page_ByKeyboard_ReachesEverythingAndChangesItsColours()
    {
        await using ShownRun run = await ShownRun.StartAsync();
        run.Train();
        await using ShownPage page = await browser.OpenAsync(run.Address);
        await page.UntilAsync("!document.getElementById('result').hidden");
        List<string> reached = [];
        for (int i = 0; i < 10; i++)
        {
            await page.Page.Keyboard.PressAsync("Tab");
            reached.Add(await page.Page.EvaluateAsync<string>("document.activeElement.id || document.activeElement.className || document.activeElement.getAttribute('href')"));
        }

        Assert.Equal(["skip", "theme", "scroll"], reached.Distinct().Take(3));
        Assert.Contains("status", reached);
        await page.Page.Locator("#theme").FocusAsync();
        await page.Page.Keyboard.PressAsync("Enter");
        Assert.Equal("dark", await page.Page.Locator("html").GetAttributeAsync("data-theme"));
        await page.Page.ReloadAsync();
        Assert.Equal("dark", await page.Page.Locator("html").GetAttributeAsync("data-theme"));
        page.CheckClean();
    }

    private static async Task CheckResultAsync(ShownPage page)
    {
        await page.UntilStateAsync("completed");
        await page.UntilAsync("!document.getElementById('result').hidden");
        Assert.Equal(10, await page.Page.Locator("#matrix tbody tr").CountAsync());
        Assert.Equal(2, await page.Page.Locator("#epoch-table tbody tr").CountAsync());
        Assert.Contains("of 60 test images recognised", await page.TextAsync("#result-text"), StringComparison.Ordinal);
        Assert.Contains("100%", await page.TextAsync("#position"), StringComparison.Ordinal);
    }
}
