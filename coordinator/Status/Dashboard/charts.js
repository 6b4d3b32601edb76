"use strict";

// The three curves, drawn by Apache ECharts. Colours are the page's own, so that they follow its theme.
const charts = (() => {
  const instances = {};

  function colour(name) {
    // A resolved colour: light-dark() is known to the style sheet alone.
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  }

  const compact = value => value >= 1e6 ? `${+(value / 1e6).toFixed(1)}M` : value >= 1e4 ? `${Math.round(value / 1e3)}k` : value >= 1e3 ? `${+(value / 1e3).toFixed(1)}k` : `${+value.toPrecision(3)}`;

  function base(xMax, stepsPerEpoch, y, format) {
    const line = colour("line");
    const quiet = colour("quiet");
    const text = { color: quiet, fontSize: 11 };
    return {
      animation: false,
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
      grid: { left: 8, right: 14, top: 30, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
      legend: { top: 0, right: 0, icon: "roundRect", itemWidth: 12, itemHeight: 4, textStyle: text },
      tooltip: {
        trigger: "axis",
        // Drawn, not made of HTML: the page allows no style but its own sheet's.
        renderMode: "richText",
        backgroundColor: colour("card"), borderColor: line, textStyle: { color: colour("text"), fontSize: 12 },
        formatter: items => [`step ${items[0].value[0].toLocaleString("en")}`, ...items.map(item => `${item.seriesName}: ${format(item.value[1])}`)].join("\n"),
      },
      xAxis: {
        type: "value", min: 0, max: Math.max(1, xMax), axisLabel: { ...text, formatter: compact, hideOverlap: true },
        axisLine: { lineStyle: { color: line } }, axisTick: { show: false }, splitLine: { show: false },
      },
      yAxis: { axisLabel: { ...text, formatter: compact }, splitLine: { lineStyle: { color: line } }, axisLine: { show: false }, axisTick: { show: false }, ...y },
      epochs: epochLines(xMax, stepsPerEpoch, line),
    };
  }

  // Where an epoch ends; not if that would be a hatching.
  function epochLines(xMax, stepsPerEpoch, line) {
    const count = stepsPerEpoch ? Math.floor(xMax / stepsPerEpoch) : 0;
    if (count < 1 || count > 20)
      return undefined;
    return {
      silent: true, symbol: "none", label: { show: false }, lineStyle: { color: line, type: "dashed", width: 1 },
      data: Array.from({ length: count }, (_, i) => ({ xAxis: (i + 1) * stepsPerEpoch })),
    };
  }

  function training(name, points, epochs, extra) {
    const color = colour("accent");
    return {
      name, type: "line", data: points, showSymbol: points.length === 1, symbolSize: 5, markLine: epochs,
      lineStyle: { width: 1.5, color }, itemStyle: { color }, ...extra,
    };
  }

  function test(points) {
    const color = colour("second");
    return { name: "test", type: "line", data: points, symbol: "circle", symbolSize: 7, lineStyle: { width: 2, color }, itemStyle: { color }, z: 3 };
  }

  function show(id, option, label) {
    const element = document.getElementById(id);
    instances[id] ??= echarts.init(element, null, { renderer: "canvas" });
    delete option.epochs;
    instances[id].setOption(option, { notMerge: true });
    element.setAttribute("aria-label", label);
  }

  /** Draws all curves. @param curve what /curve says @param status what /status says */
  function draw(curve, status) {
    const points = values => curve.step.map((step, i) => [step, values[i]]);
    const ends = value => status.history.map(epoch => [((epoch.epoch - 1) * status.steps_per_epoch) + epoch.steps, epoch[value]]);
    const last = curve.step.at(-1) ?? 0;
    const xMax = Math.min(Math.max(last, 20) * 1.02, status.total_steps ?? Infinity);
    const exact = value => value.toFixed(4);
    const of = (values, digits) => values.length > 0 ? `, now ${values.at(-1).toFixed(digits)}` : "";

    // Of several powers of ten only a logarithm shows all; it has no zero.
    const positive = pairs => pairs.map(([step, value]) => [step, Math.max(value, 1e-6)]);
    let option = base(xMax, status.steps_per_epoch, { type: "log", logBase: 10 }, exact);
    option.series = [training("training", positive(points(curve.loss)), option.epochs), test(positive(ends("test_loss")))];
    show("loss-chart", option, `Training and test loss over ${last} steps${of(curve.loss, 4)}`);

    // The first steps know nothing: they may leave the picture at its foot, so that the rest can be told apart.
    const sorted = [...curve.accuracy].sort((a, b) => a - b);
    const low = Math.min(sorted[Math.floor(sorted.length / 20)] ?? 0, ...ends("test_accuracy").map(point => point[1]));
    option = base(xMax, status.steps_per_epoch, { type: "value", min: Math.max(0, Math.floor((low - 0.01) * 20) / 20), max: 1 }, exact);
    option.series = [training("training", points(curve.accuracy), option.epochs, { clip: true }), test(ends("test_accuracy"))];
    show("accuracy-chart", option, `Training and test accuracy over ${last} steps${of(curve.accuracy, 4)}`);

    option = base(xMax, status.steps_per_epoch, { type: "value", min: 0 }, value => Math.round(value).toLocaleString("en"));
    option.legend.show = false;
    option.grid.top = 12;
    option.series = [training("images/s", points(curve.images_per_second), option.epochs, { areaStyle: { opacity: 0.15, color: colour("accent") } })];
    show("rate-chart", option, `Images a second over ${last} steps${of(curve.images_per_second, 0)}`);
  }

  addEventListener("resize", () => Object.values(instances).forEach(instance => instance.resize()));

  return { draw };
})();
