// A run's page while it is open: curves that grow, progress, log lines, evaluations, all from one stream of server-sent events.

import { draw, forget, styled } from "./charts.js";
import { onChange, options } from "./chart_tools.js";
import { follow } from "./live.js";
import { announce } from "./page.js";

const page = document.getElementById("run");
const grid = document.getElementById("curves");
const more = document.getElementById("more-curves");
const live = document.getElementById("live-state");
const log = document.getElementById("log");
const baseline = document.getElementById("with-baseline");

const MOST_POINTS = 6000; // Beyond this the server thins the curves out again.

let panels = new Map(); // id → { id, shown, better, figure, element }
let traces = new Map(); // series → { panel, trace } of this run, not of its baseline
let word = page.dataset.word;
let waiting = null;

async function load() {
  const query = new URLSearchParams({ width: String(Math.round(grid.clientWidth / 2)) });
  if (baseline?.checked) query.set("baseline", "1");
  const response = await fetch(`${page.dataset.curves}?${query}`, { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`The curves could not be read: ${response.status}.`);
  const { mark, panels: found } = await response.json();
  const old = panels;
  panels = new Map();
  traces = new Map();
  for (const panel of found) {
    panel.element = old.get(panel.id)?.element ?? place(panel);
    panels.set(panel.id, panel);
    for (const trace of panel.figure.data) if (!trace.meta.reference) traces.set(trace.meta.series, { panel, trace });
    redraw(panel);
  }
  const folded = found.filter((panel) => !panel.shown).length;
  more.hidden = !folded;
  document.getElementById("more-count").textContent = folded;
  document.getElementById("no-curves").hidden = found.length > 0;
  return mark;
}

function place(panel) {
  const element = document.createElement("div");
  element.className = "chart";
  element.dataset.panel = panel.id;
  (panel.shown ? grid : more.querySelector(".chart-grid")).append(element);
  return element;
}

function redraw(panel) {
  const points = Math.max(0, ...panel.figure.data.map((trace) => trace.x.length));
  panel.element.dataset.points = points;
  const alone = points === 1;
  if (alone) showNumber(panel);
  else {
    if (panel.element.classList.contains("alone")) panel.element.replaceChildren();
    draw(panel.element, styled(panel, options()));
  }
  panel.element.classList.toggle("alone", alone);
}

/** What was measured once is shown as a number: there is no curve to draw yet. */
function showNumber({ element, figure }) {
  forget(element);
  const part = (tag, text, name = "") => Object.assign(document.createElement(tag), { textContent: text, className: name });
  const list = document.createElement("dl");
  for (const { name, x, y } of figure.data) {
    if (!x.length) continue;
    const value = part("dd", y[0] === null ? "not finite" : number(y[0]));
    value.append(" ", part("span", `at step ${x[0].toLocaleString("en")}`, "small faint"));
    list.append(...(figure.data.length > 1 ? [part("dt", name, "muted")] : []), value);
  }
  element.replaceChildren(part("h3", figure.layout.title.text), list);
}

function number(value) {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(3) : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** Puts points into a curve by step. They mostly come at its end; where they overlap it, the newer ones count. */
function merge(trace, steps, values) {
  const from = lowerBound(trace.x, steps[0]);
  if (from === trace.x.length) {
    for (let i = 0; i < steps.length; i++) trace.x.push(steps[i]), trace.y.push(values[i]);
    return;
  }
  const merged = new Map();
  for (let i = from; i < trace.x.length; i++) merged.set(trace.x[i], trace.y[i]);
  for (let i = 0; i < steps.length; i++) merged.set(steps[i], values[i]);
  const ordered = [...merged].sort((a, b) => a[0] - b[0]);
  trace.x.length = trace.y.length = from;
  for (const [step, value] of ordered) trace.x.push(step), trace.y.push(value);
}

function lowerBound(sorted, value) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

function cut(step) {
  for (const { trace } of traces.values()) {
    const end = lowerBound(trace.x, step + 1);
    trace.x.length = trace.y.length = end;
  }
}

function onPoints({ series, cut_after: cutAfter }) {
  const changed = new Set();
  if (cutAfter !== null) {
    cut(cutAfter);
    panels.forEach((panel) => changed.add(panel));
  }
  let again = false;
  for (const [name, [steps, values]] of Object.entries(series)) {
    const known = traces.get(name);
    if (!known || known.trace.x.length > MOST_POINTS) {
      again = true;
      continue;
    }
    merge(known.trace, steps, values);
    if (known.trace.x.length > known.trace.meta.most_marked) known.trace.mode = "lines";
    changed.add(known.panel);
  }
  changed.forEach(redraw);
  if (again) reload();
}

/** At most one at a time: a first batch may bring many new series. */
function reload() {
  waiting ??= load().finally(() => (waiting = null));
}

function onStatus({ html, word: now }) {
  document.getElementById("progress").innerHTML = html;
  if (now === word) return;
  word = now;
  announce(`The run is ${now}.`);
  document.title = document.title.replace(/·[^·]+· Stillhouse$/, `· ${now} · Stillhouse`);
  refresh("run-header", "activity");
}

function refresh(...ids) {
  for (const id of ids) htmx.trigger(`#${id}`, "refresh");
}

function onLog({ html }) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.insertAdjacentHTML("beforeend", html);
  while (log.childElementCount > 500) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function show(state, text) {
  live.hidden = !text;
  live.className = `live-dot ${state}`;
  live.textContent = text;
}

function listen(first) {
  follow({
    address: (mark) => `${page.dataset.events}?after=${encodeURIComponent(mark || first)}`,
    on: {
      points: onPoints,
      status: onStatus,
      log: onLog,
      evaluation: () => refresh("evaluations"),
      end: () => {
        show("", "");
        refresh("run-header", "evaluations", "activity");
      },
    },
    show,
  });
}

async function start() {
  try {
    const mark = await load();
    if (page.dataset.ended !== "yes") listen(mark);
  } catch (error) {
    show("off", error.message);
  }
}

log.scrollTop = log.scrollHeight;
onChange(() => panels.forEach(redraw));
baseline?.addEventListener("change", reload);
start();
