using System.Text.Json;
using System.Text.RegularExpressions;
using k8s;

namespace Distributed.Tests.Cluster.Compose;

/// <summary>What can be said of the files without an engine.</summary>
public sealed partial class FileTests
{
    // Fixed in the file, of one machine only, or for files that a container does not have.
    private static readonly string[] NotSettings =
    [
        "--workers", "--threads", "--listen", "--status", "--resume", "--checkpoint-dir", "--token-file", "--data-dir", "--insecure", "--max-restarts",
        "--tls-cert", "--tls-key", "--tls-client-ca", "--help",
    ];

    [Fact]
    public async Task Settings_OfTrain_CanAllBeGivenByTheEnvironment()
    {
        await using ProgramRun help = ProgramRun.Coordinator("train", "--help");
        await help.SucceedAsync();
        string[] options = [.. OptionName().Matches(help.Output).Select(static match => match.Groups[1].Value).Distinct().Except(NotSettings)];
        Assert.Contains("--epochs", options);
        string compose = await File.ReadAllTextAsync(ComposeFiles.Cluster, TestContext.Current.CancellationToken);
        string example = await File.ReadAllTextAsync(ComposeFiles.PathOf(".env.example"), TestContext.Current.CancellationToken);
        foreach (string option in options)
        {
            string variable = "TRAIN__" + option[2..].ToUpperInvariant().Replace('-', '_');
            Assert.Contains($"      {variable}: ${{{variable}:-}}\n", compose, StringComparison.Ordinal);
            Assert.Contains($"#{variable}=", example, StringComparison.Ordinal);
        }

        // And none that does not exist.
        foreach (Match variable in SettingName().Matches(compose))
            Assert.Contains("--" + variable.Groups[1].Value.ToLowerInvariant().Replace('_', '-'), options);
    }

    [Theory]
    [InlineData("namespace.yaml")]
    [InlineData("storage.yaml")]
    [InlineData("coordinator.yaml")]
    [InlineData("worker.yaml")]
    public void Manifest_ReadStrictly_HasOnlyWhatKubernetesKnows(string name) =>
        Assert.NotEmpty(KubernetesYaml.LoadAllFromString(File.ReadAllText(ComposeFiles.PathOf(Path.Combine("kubernetes", name))), strict: true));

    [Fact]
    public void Kustomization_NamesEveryManifest()
    {
        string folder = ComposeFiles.PathOf("kubernetes");
        string kustomization = File.ReadAllText(Path.Combine(folder, "kustomization.yaml"));
        foreach (string manifest in Directory.GetFiles(folder, "*.yaml").Select(static path => Path.GetFileName(path)).Where(static name => name != "kustomization.yaml"))
            Assert.Contains($"  - {manifest}\n", kustomization, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PrometheusConfiguration_IsClean()
    {
        Assert.SkipUnless(Exists("promtool"), "needs promtool (Debian's package prometheus)");
        await using ProgramRun check = ProgramRun.Start("promtool", "check", "config", ComposeFiles.PathOf("monitoring/prometheus.yml"));
        await check.SucceedAsync();
    }

    [Fact]
    public void GrafanaDashboard_HasPanelsWithQueriesOfTheProvisionedSource()
    {
        JsonElement dashboard = JsonDocument.Parse(File.ReadAllText(ComposeFiles.PathOf("monitoring/provisioning/dashboards/training.json"))).RootElement;
        JsonElement[] panels = [.. dashboard.GetProperty("panels").EnumerateArray()];
        Assert.NotEmpty(panels);
        Assert.Equal(panels.Length, panels.Select(static panel => panel.GetProperty("id").GetInt32()).Distinct().Count());
        foreach (JsonElement panel in panels)
        {
            Assert.Equal("prometheus", panel.GetProperty("datasource").GetProperty("uid").GetString());
            Assert.All(panel.GetProperty("targets").EnumerateArray(), static target => Assert.NotEqual("", target.GetProperty("expr").GetString()));
        }
    }

    private static bool Exists(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Any(folder => File.Exists(Path.Combine(folder, program)));

    [GeneratedRegex(@"^\s+(?:-\w, )?(--[a-z][a-z0-9-]*)", RegexOptions.Multiline)]
    private static partial Regex OptionName();

    [GeneratedRegex(@"^      TRAIN__([A-Z0-9_]+):", RegexOptions.Multiline)]
    private static partial Regex SettingName();
}
