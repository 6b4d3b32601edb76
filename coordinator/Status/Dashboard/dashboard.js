"use strict";

// Shows what the coordinator says: live over server-sent events, or once from the data in a report file.
const byId = id => document.getElementById(id);
const FINAL = new Set(["completed", "failed", "stopping"]);
const SILENCE_MS = 10_000;
const RETRY_MS = 2000;
const FETCH_MS = 1000;

const view = { status: null, curve: { step: [], loss: [], accuracy: [], images_per_second: [] }, resultEpoch: 0, hasEnded: false, lastHeard: 0, fetchedAt: 0, curveStep: -1 };

// ---- words

const whole = value => Math.round(value).toLocaleString("en");
const share = value => value == null ? "–" : `${(value * 100).toFixed(2)}%`;

function duration(seconds) {
  const s = Math.round(seconds);
  if (s < 60)
    return `${s} s`;
  const parts = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  const text = parts[0] > 0 ? `${parts[0]} d ${parts[1]} h` : parts[1] > 0 ? `${parts[1]} h ${parts[2]} min` : `${parts[2]} min ${parts[3]} s`;
  return text;
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; count >= 999.5 && unit < units.length - 1; unit++)
    count /= 1000;
  return `${unit === 0 ? count : count.toPrecision(3)} ${units[unit]}`;
}

// As gRPC writes it, ipv4:127.0.0.1:5000, says nothing more than the address.
const address = text => text.replace(/\bipv[46]:/, "");

// 0, 1, 2, 5 becomes 0–2, 5.
function ranges(numbers) {
  const parts = [];
  for (let i = 0; i < numbers.length; i++) {
    const first = numbers[i];
    while (numbers[i + 1] === numbers[i] + 1)
      i++;
    parts.push(first === numbers[i] ? `${first}` : `${first}–${numbers[i]}`);
  }
  return parts.join(", ") || "–";
}

// ---- the document

function set(element, text) {
  if (element.textContent !== text)
    element.textContent = text;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Makes the children of a list be those of the items, keeping what is there, so that focus and selection stay. */
function sync(parent, items, key, create, update) {
  const known = new Map([...parent.children].map(child => [child.dataset.key, child]));
  items.forEach((item, i) => {
    const name = String(key(item));
    const child = known.get(name) ?? create(item);
    child.dataset.key = name;
    known.delete(name);
    if (parent.children[i] !== child)
      parent.insertBefore(child, parent.children[i] ?? null);
    update?.(child, item);
  });
  known.forEach(child => child.remove());
}

function showHead(status) {
  set(byId("model"), status.model);
  set(byId("dataset"), status.dataset ? `on ${status.dataset.split(/[\\/]/).at(-1)}` : "");
  const parameters = status.parameters == null ? "loading the data" : `${whole(status.parameters)} parameters`;
  const started = new Date(status.started).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
  set(byId("subtitle"), `${status.run ? `run ${status.run}, started ${started} · ` : ""}${parameters}${status.wire === "float32" ? "" : `, ${status.wire} on the wire`} · ${status.epochs} epoch${status.epochs === 1 ? "" : "s"}`);
  showState(status.state);
  document.title = `${status.state === "training" && status.total_steps ? `${Math.floor(status.steps_done / status.total_steps * 100)}% ` : ""}${status.model} – ${status.state}`;
  set(byId("weights"), status.weights_sha256 ?? "–");
}

function showState(state) {
  const badge = byId("state");
  set(badge, state);
  badge.className = `badge ${state}`;
}

function showProgress(status) {
  const done = status.total_steps ? status.steps_done / status.total_steps : 0;
  byId("progress").value = done;
  const steps = status.steps_per_epoch ? ` · step ${whole(status.step)} of ${whole(status.steps_per_epoch)}` : "";
  set(byId("position"), status.epoch > 0 ? `epoch ${status.epoch} of ${status.epochs}${steps} · ${Math.floor(done * 100)}%` : "not started");
  set(byId("eta"), status.eta_seconds == null ? "" : `about ${duration(status.eta_seconds)} left`);
  // An epoch's first steps have no mean yet; the last epoch's stands in for it.
  const last = status.history.at(-1);
  const loss = status.loss ?? last?.loss;
  set(byId("loss"), loss == null ? "–" : loss.toFixed(4));
  set(byId("accuracy"), share(status.accuracy ?? last?.accuracy));
  set(byId("test-accuracy"), share(status.test_accuracy));
  set(byId("rate"), status.images_per_second > 0 ? whole(status.images_per_second) : "–");
  set(byId("elapsed"), duration(status.elapsed_seconds));
  set(byId("worker-count"), `${status.workers.filter(worker => worker.state !== "lost").length}`);
}

function createWorker() {
  const bar = make("span", { class: "bar", role: "img" }, make("i", { class: "compute" }), make("i", { class: "exchange" }), make("i", { class: "wait" }));
  return make("tr", {},
    make("th", { scope: "row", class: "worker-name" }, make("span"), make("small")),
    make("td", { class: "state" }), make("td", { class: "shards" }), make("td", { class: "number rate" }),
    make("td", { class: "time" }, make("span", { class: "split" }, bar, make("span", { class: "number" }))),
    make("td", { class: "number traffic" }), make("td", { class: "number traffic" }), make("td", { class: "number heard" }));
}

function updateWorker(row, worker) {
  const [name, state, shards, rate, split, sent, received, heard] = row.children;
  row.className = worker.state;
  set(name.children[0], worker.name);
  set(name.children[1], `${worker.threads} thread${worker.threads === 1 ? "" : "s"}, ${worker.instruction_set}, ${worker.exchange === "shm" ? "shared memory" : worker.exchange}, ${address(worker.address)}`);
  set(state, worker.state);
  state.className = `state state-${worker.state}`;
  set(shards, ranges(worker.shards));
  set(rate, worker.images_per_second > 0 ? whole(worker.images_per_second) : "–");
  const [bar, total] = split.firstChild.children;
  ["compute", "exchange", "wait"].forEach((phase, i) => {
    bar.children[i].style.width = worker.step_ms > 0 ? `${worker[`${phase}_ms`] / worker.step_ms * 100}%` : "0";
  });
  bar.setAttribute("aria-label", `compute ${worker.compute_ms.toFixed(1)} ms, exchange ${worker.exchange_ms.toFixed(1)} ms, wait ${worker.wait_ms.toFixed(1)} ms`);
  bar.title = bar.getAttribute("aria-label");
  set(total, worker.step_ms > 0 ? `${worker.step_ms.toFixed(1)} ms` : "–");
  set(sent, bytes(worker.bytes_sent));
  set(received, bytes(worker.bytes_received));
  set(heard, worker.state === "done" ? "–" : worker.last_heartbeat_ms < 1000 ? "now" : `${duration(worker.last_heartbeat_ms / 1000)} ago`);
}

function showWorkers(status) {
  // Those who are in first, and of those who are lost the latest.
  const isLost = worker => worker.state === "lost";
  const workers = [...status.workers].sort((a, b) => isLost(a) - isLost(b) || (isLost(a) ? b.id - a.id : a.name.localeCompare(b.name, "en", { numeric: true })));
  sync(byId("worker-table").tBodies[0], workers, worker => worker.id, createWorker, updateWorker);
  byId("worker-table").hidden = workers.length === 0;
  byId("no-workers").hidden = workers.length > 0;
}

function showEpochs(status) {
  sync(byId("epoch-table").tBodies[0], [...status.history].reverse(), epoch => epoch.epoch, epoch => make("tr", {},
    ...[epoch.epoch, epoch.loss.toFixed(4), share(epoch.accuracy), epoch.test_loss.toFixed(4), share(epoch.test_accuracy), whole(epoch.images_per_second), duration(epoch.seconds)]
      .map(text => make("td", { class: "number" }, `${text}`))));
  byId("epoch-table").hidden = status.history.length === 0;
  byId("no-epochs").hidden = status.history.length > 0;
}

function showEvents(status) {
  sync(byId("events"), [...status.events].reverse(), entry => entry.number, entry => {
    const time = new Date(entry.time);
    const words = make("span", {}, make("b", {}, `${entry.worker ? `${entry.worker} ` : ""}${entry.kind.replaceAll("_", " ")}`), ` ${address(entry.text)}`);
    return make("li", { class: entry.kind }, make("time", { datetime: entry.time }, time.toLocaleTimeString("en-GB")), words);
  });
}

function show(status) {
  view.status = status;
  showHead(status);
  showProgress(status);
  showWorkers(status);
  showEpochs(status);
  showEvents(status);
  if (status.state === "failed")
    banner(`The run has failed: ${status.failure}`);
  else if (!view.hasEnded)
    banner(null);
}

function banner(text, isCalm = false) {
  const element = byId("banner");
  element.hidden = text === null;
  element.classList.toggle("calm", isCalm);
  set(element, text ?? "");
}

// ---- the result

function showMatrix(matrix) {
  const table = byId("matrix");
  // Hundreds of columns are no picture; the images below still are.
  table.closest("div").hidden = matrix.length > 20;
  if (matrix.length > 20)
    return;
  const most = Math.max(1, ...matrix.map((row, i) => Math.max(...row.filter((_, j) => j !== i))));
  table.tHead.replaceChildren(make("tr", {}, make("td"), ...matrix.map((_, i) => make("th", { scope: "col" }, `${i}`))));
  table.tBodies[0].replaceChildren(...matrix.map((row, label) => make("tr", {}, make("th", { scope: "row" }, `${label}`), ...row.map((count, prediction) => {
    const cell = make("td", { class: count === 0 ? "zero" : label === prediction ? "hit" : "miss" }, count === 0 ? "·" : `${count}`);
    cell.style.setProperty("--share", count / most);
    return cell;
  }))));
}

function draw(canvas, result, pixels) {
  [canvas.width, canvas.height] = [result.width, result.height];
  const context = canvas.getContext("2d");
  const image = context.createImageData(result.width, result.height);
  const source = Uint8Array.from(atob(pixels), character => character.charCodeAt(0));
  for (let i = 0; i < result.width * result.height; i++) {
    for (let channel = 0; channel < 3; channel++)
      image.data[4 * i + channel] = source[i * result.channels + (result.channels >= 3 ? channel : 0)];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function showResult(result) {
  view.resultEpoch = result.epoch;
  byId("result").hidden = false;
  set(byId("result-title"), `Test result after epoch ${result.epoch}`);
  const some = result.mistakes.length < result.wrong ? `; the first ${result.mistakes.length} are shown` : "";
  set(byId("result-text"), `${share(result.test_accuracy)} of ${whole(result.images)} test images recognised, loss ${result.test_loss.toFixed(4)}; ${whole(result.wrong)} wrong${some}.`);
  showMatrix(result.confusion_matrix);
  byId("mistakes").replaceChildren(...result.mistakes.map(mistake => {
    const canvas = make("canvas", { role: "img", "aria-label": `test image ${mistake.index}: ${mistake.label}, taken for ${mistake.prediction}`, title: `test image ${mistake.index}` });
    draw(canvas, result, mistake.pixels);
    return make("li", {}, canvas, make("span", { class: "right" }, `${mistake.label}`), " → ", make("span", { class: "wrong" }, `${mistake.prediction}`));
  }));
}

function showCurve(curve) {
  view.curve = curve;
  view.curveStep = curve.step.at(-1) ?? 0;
  if (view.status)
    charts.draw(curve, view.status);
}

// ---- live

async function fetchJson(path) {
  const response = await fetch(path);
  return response.ok ? response.json() : null;
}

/** Gets what the events do not carry, as often as it is worth it and only while somebody looks. */
async function fetchMore(status) {
  // The test set is scored after an epoch's last step: a curve that has them all says nothing of the result.
  const isBehind = view.curveStep !== status.steps_done || view.resultEpoch !== (status.history.at(-1)?.epoch ?? 0);
  const isDue = view.fetchedAt === 0 || (isBehind && performance.now() - view.fetchedAt > FETCH_MS);
  if (document.hidden || !isDue)
    return;
  view.fetchedAt = performance.now();
  try {
    const curve = await fetchJson("curve");
    if (curve && !view.hasEnded)
      showCurve(curve);
    const epochs = view.status.history.length;
    if (epochs > 0 && view.resultEpoch !== view.status.history[epochs - 1].epoch) {
      const result = await fetchJson("result");
      if (result && !view.hasEnded)
        showResult(result);
      else if (!result)
        // Resumed: the epoch was scored by a process that is gone.
        view.resultEpoch = view.status.history[epochs - 1].epoch;
    }
  } catch (error) {
    // The events tell, too, when the coordinator is gone.
    if (!(error instanceof TypeError))
      throw error;
  }
}

function heard() {
  view.lastHeard = performance.now();
}

function lost() {
  if (view.hasEnded || (view.status && FINAL.has(view.status.state)))
    return ended();
  banner("The coordinator is gone, or cannot be reached. What you see is what it said last; trying again …");
  showState("gone");
}

function ended() {
  view.hasEnded = true;
  if (view.status && view.status.state !== "failed")
    banner("The coordinator has ended; this is what it said last. The run's folder has the same as report.html.", true);
}

function watch() {
  connect();
  setInterval(() => {
    if (!view.hasEnded && view.lastHeard > 0 && performance.now() - view.lastHeard > SILENCE_MS)
      lost();
  }, 1000);
}

function connect() {
  const source = new EventSource("events");
  source.addEventListener("status", event => {
    heard();
    const status = JSON.parse(event.data);
    if (view.status && status.run !== view.status.run && view.status.run !== null) {
      // Another run at the same address: nothing of the old one may stay.
      location.reload();
      return;
    }
    show(status);
    // The last events come in one: what is final may need no more, and have nobody to answer.
    setTimeout(() => view.hasEnded || fetchMore(view.status), FINAL.has(status.state) ? 200 : 0);
  });
  source.addEventListener("curve", event => showCurve(JSON.parse(event.data)));
  source.addEventListener("result", event => showResult(JSON.parse(event.data)));
  source.addEventListener("end", () => {
    source.close();
    ended();
    charts.draw(view.curve, view.status);
  });
  source.addEventListener("error", () => {
    if (!view.hasEnded)
      lost();
    if (view.hasEnded)
      source.close();
    else if (source.readyState === EventSource.CLOSED)
      // After an answer that is none (a proxy's error) the browser does not try again by itself.
      setTimeout(connect, RETRY_MS);
  });
}

// ---- colours

function startTheme() {
  const root = document.documentElement;
  const names = { auto: "as the system", light: "light", dark: "dark" };
  const button = byId("theme");
  const apply = theme => {
    if (theme === "auto")
      delete root.dataset.theme;
    else
      root.dataset.theme = theme;
    button.setAttribute("aria-label", `Colours: ${names[theme]}`);
    button.title = `Colours: ${names[theme]}`;
    if (view.status)
      charts.draw(view.curve, view.status);
  };
  let theme = "auto";
  try {
    // A file opened from a disk may have no storage.
    theme = localStorage.getItem("theme") in names ? localStorage.getItem("theme") : "auto";
  } catch { }
  button.addEventListener("click", () => {
    theme = { auto: "dark", dark: "light", light: "auto" }[theme];
    try {
      localStorage.setItem("theme", theme);
    } catch { }
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(theme));
  apply(theme);
}

function start() {
  startTheme();
  const report = byId("report");
  if (!report) {
    watch();
    return;
  }
  const { status, curve, result } = JSON.parse(report.textContent);
  view.hasEnded = true;
  byId("links").hidden = true;
  show(status);
  showCurve(curve);
  if (result)
    showResult(result);
}

start();
