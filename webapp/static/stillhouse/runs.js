// The table of runs: which are selected for a comparison (kept over pages and filters), an address that holds the columns too, and cells that
// change while runs go on.

import { follow } from "./live.js";

const bar = document.getElementById("selection");
const key = `stillhouse.selected.${bar.dataset.project}`;
const [LEAST, MOST] = [Number(bar.dataset.least), Number(bar.dataset.most)];

let selected = new Set(JSON.parse(sessionStorage.getItem(key) ?? "[]"));

const boxes = () => [...document.querySelectorAll("[data-pick]")];

function show() {
  sessionStorage.setItem(key, JSON.stringify([...selected]));
  for (const box of boxes()) {
    box.checked = selected.has(box.value);
    box.closest("tr").classList.toggle("picked", box.checked);
  }
  const all = document.getElementById("pick-all");
  const here = boxes().filter((box) => box.checked).length;
  if (all) {
    all.checked = here > 0 && here === boxes().length;
    all.indeterminate = here > 0 && !all.checked;
  }
  bar.hidden = selected.size === 0;
  document.getElementById("selection-count").textContent =
    selected.size < LEAST ? "1 run selected: pick another one to compare" : selected.size > MOST ? `${selected.size} runs selected: at most ${MOST} can be compared` : `${selected.size} runs selected`;
  document.getElementById("compare-button").disabled = selected.size < LEAST || selected.size > MOST;
}

function fullAddress() {
  const table = document.getElementById("runs-table");
  if (!table) return;
  const address = new URL(location.href);
  address.searchParams.delete("remember");
  if (!address.searchParams.has("columns") || address.searchParams.getAll("columns").length > 1) address.searchParams.set("columns", table.dataset.columns);
  history.replaceState(history.state, "", address);
}

let stop = () => {};

/** Follows the rows that are shown now. They stay where they are: a table that sorts itself again moves away under the pointer. */
function listen() {
  stop();
  const newest = document.getElementById("table-hint").dataset.newest;
  const address = `${document.getElementById("runs-page").dataset.events}?newest=${newest}&runs=${boxes().map((box) => box.value)}`;
  stop = follow({ address: () => address, on: { rows: onRows, changed: () => hint("Runs were launched or deleted since this table was loaded.") }, show: showLive });
}

function onRows({ rows }) {
  const sort = document.getElementById("runs-table").dataset.sort.replace(/^-/, "");
  const isFiltered = document.getElementById("filter-state").value !== "";
  for (const [id, { state, word, values }] of Object.entries(rows)) {
    const cell = document.getElementById(`state-${id}`);
    if (!cell) continue;
    const before = cell.querySelector(".badge").textContent;
    cell.innerHTML = state;
    const moved = word !== before && (isFiltered || ["state", "seconds", "step", "finished"].includes(sort));
    let outOfOrder = moved;
    for (const [name, value] of Object.entries(values)) {
      const shown = document.getElementById(`value-${id}-${name}`);
      if (!shown || shown.textContent === value) continue;
      shown.textContent = value;
      outOfOrder ||= name === sort;
    }
    if (outOfOrder) hint("Values have changed since this table was sorted and filtered.");
  }
}

function hint(text) {
  const place = document.getElementById("table-hint");
  place.querySelector("span").textContent = text;
  place.hidden = false;
}

function showLive(state, text) {
  const dot = document.getElementById("live-state");
  if (!dot) return;
  dot.hidden = state !== "off";
  dot.className = `live-dot ${state}`;
  dot.textContent = text;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "pick-all") boxes().forEach((box) => (event.target.checked ? selected.add(box.value) : selected.delete(box.value)));
  else if (event.target.matches("[data-pick]")) event.target.checked ? selected.add(event.target.value) : selected.delete(event.target.value);
  else return;
  show();
});
document.getElementById("clear-selection").addEventListener("click", () => {
  selected = new Set();
  show();
});
document.getElementById("compare-button").addEventListener("click", () => (location.href = `${bar.dataset.compare}?runs=${[...selected].join(",")}`));
document.addEventListener("htmx:configRequest", (event) => {
  // Untouched filters stay out of the address.
  for (const [name, value] of [...event.detail.formData]) if (value === "") event.detail.formData.delete(name);
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id !== "runs-page") return;
  show();
  listen();
});
show();
listen();
fullAddress();
