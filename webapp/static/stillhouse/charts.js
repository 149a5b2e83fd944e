// Draws figures that the server made, in the page's colors. A chart is drawn when it comes into view, and again when the theme changes.

const CONFIG = { displaylogo: false, responsive: true, displayModeBar: "hover", modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
const LETTER = 7.2; // Mean width of a title's letter, in pixels.
const MANY = 10; // More entries than this make a legend that is larger than its chart.

const figures = new Map(); // element → figure
let revision = 0;
const seen = new IntersectionObserver(
  (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
    seen.unobserve(entry.target);
    render(entry.target);
  }),
  { rootMargin: "300px" },
);

/** Shows a figure in an element, now or as soon as it is near the window. Call it again with a changed figure to redraw. */
export function draw(element, figure) {
  const known = figures.has(element);
  figures.set(element, figure);
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", describe(figure));
  if (!known) seen.observe(element);
  else if (element.classList.contains("js-plotly-plot")) render(element);
}

/** Exponential moving average that starts at the first value (bias-corrected). A gap stays a gap. */
export function smooth(values, weight) {
  if (!weight) return values;
  const out = new Array(values.length);
  let mean = 0;
  let total = 0;
  for (let i = 0; i < values.length; i++) {
    if (values[i] === null) {
      out[i] = null;
      continue;
    }
    mean = weight * mean + (1 - weight) * values[i];
    total = weight * total + (1 - weight);
    out[i] = mean / total;
  }
  return out;
}

/** The figure with each line smoothed, and the line as it was faintly behind; and with a logarithmic y axis where small values matter. */
export function styled(panel, { smoothing, log }) {
  revision += 1; // The arrays grow in place, which Plotly would not notice.
  const { data, layout } = panel.figure;
  const lines = [];
  for (const trace of data) {
    if (!smoothing || trace.x.length < 3) {
      lines.push(trace);
      continue;
    }
    const raw = { ...trace, opacity: 0.22, showlegend: false, hoverinfo: "skip", hovertemplate: null, mode: "lines", line: { ...trace.line, width: 1 } };
    lines.push(raw, { ...trace, mode: "lines", y: smooth(trace.y, smoothing) });
  }
  const logarithmic = log && panel.better !== "higher";
  return { data: lines, layout: { ...layout, datarevision: revision, uirevision: `${panel.id}${logarithmic}`, yaxis: { ...layout.yaxis, type: logarithmic ? "log" : layout.yaxis.type ?? "linear" } } };
}

function render(element) {
  const figure = figures.get(element);
  if (figure && element.isConnected) Plotly.react(element, figure.data.map(legible), themed(figure, !element.closest("[data-shared-legend]"), element), CONFIG);
}

/** Counts on a heatmap in the page's own text color: Plotly chooses one as if the ground were white. */
function legible(trace) {
  const color = getComputedStyle(document.documentElement).getPropertyValue("--text").trim();
  return trace.type === "heatmap" ? { ...trace, textfont: { color } } : trace;
}

/** A title in as many lines as the chart's width asks for: Plotly cuts what does not fit. */
function inLines(text, width) {
  const most = Math.max(12, Math.floor(width / LETTER));
  const lines = [];
  for (const word of text.split(" ")) {
    if (lines.length && lines.at(-1).length + 1 + word.length <= most) lines.push(`${lines.pop()} ${word}`);
    else lines.push(word);
  }
  return lines;
}

function themed({ data, layout }, ownLegend, { clientWidth, clientHeight }) {
  const heading = inLines(layout.title?.text ?? "", clientWidth);
  const further = heading.length - 1; // Plotly lifts a title by half of each further line.
  const root = getComputedStyle(document.documentElement);
  const color = (name) => root.getPropertyValue(name).trim();
  const axis = {
    gridcolor: color("--chart-grid"), zerolinecolor: color("--chart-grid"), linecolor: color("--chart-axis"), tickcolor: color("--chart-axis"),
    tickfont: { color: color("--text-soft"), size: 11 }, automargin: true, exponentformat: isExtreme(data) ? "e" : "B",
  };
  const title = { font: { color: color("--text-soft"), size: 12 }, standoff: 8 };
  const named = (given) => ({ ...axis, ...given, title: { ...title, ...given.title } });
  const entries = data.filter((trace) => trace.showlegend !== false && trace.type !== "heatmap").length;
  const out = {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: root.getPropertyValue("--sans"), color: color("--text"), size: 12 },
    margin: { l: 56, r: 20, t: 42 + 18 * further, b: 44 },
    title: { ...layout.title, text: heading.join("<br>"), x: 0, xref: "container", xanchor: "left", y: 0.985 - (9 * further) / (clientHeight || 400), yref: "container", yanchor: "top", font: { size: 14, color: color("--text"), weight: 600 } },
    showlegend: ownLegend && entries > 1 && entries <= MANY,
    legend: { orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom", font: { size: 11, color: color("--text-soft") }, bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: color("--surface"), bordercolor: color("--line-strong"), font: { color: color("--text"), size: 12 }, namelength: 40 },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--text-faint"), activecolor: color("--accent") },
  };
  for (const name of Object.keys(layout)) if (/^[xy]axis\d*$/.test(name)) out[name] = named(layout[name]);
  return out;
}

/** Beyond k, M, µ… Plotly writes raised exponents, for which it needs style attributes, which the page's policy refuses. */
function isExtreme(data) {
  const extreme = (value) => Math.abs(value) >= 1e14 || (value !== 0 && Math.abs(value) < 1e-14);
  return data.some((trace) => trace.type === "scatter" && trace.y.some((value) => value !== null && extreme(value)));
}

function describe({ layout }) {
  const text = (axis) => layout[axis]?.title?.text ?? "";
  return `Chart: ${layout.title?.text ?? ""}. ${text("yaxis")} over ${text("xaxis")}.`;
}

function scan(root) {
  for (const element of root.querySelectorAll("[data-figure]")) {
    if (!figures.has(element)) draw(element, JSON.parse(document.getElementById(element.dataset.figure).textContent));
  }
  for (const canvas of root.querySelectorAll("canvas[data-picture]")) paint(canvas);
}

/** A small gray picture: rows of levels from 0 to 255. */
function paint(canvas) {
  const rows = JSON.parse(canvas.dataset.picture);
  canvas.width = rows[0].length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  rows.flat().forEach((level, index) => pixels.data.set([level, level, level, 255], 4 * index));
  context.putImageData(pixels, 0, 0);
}

/** Takes a figure out of its element. */
export function forget(element) {
  if (!figures.delete(element)) return;
  seen.unobserve(element);
  Plotly.purge(element);
  element.removeAttribute("role");
  element.removeAttribute("aria-label");
}

function forgetGone() {
  for (const element of figures.keys()) if (!element.isConnected) forget(element);
}

scan(document);
document.addEventListener("htmx:afterSettle", (event) => {
  forgetGone();
  scan(event.target);
});
document.addEventListener("themechange", () => {
  for (const element of figures.keys()) if (element.classList.contains("js-plotly-plot")) render(element);
});
