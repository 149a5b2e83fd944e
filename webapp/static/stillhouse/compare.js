// The compare page's curves: fetched after the page, so that the table is there at once.

import { draw, styled } from "./charts.js";
import { onChange, options } from "./chart_tools.js";

const grid = document.getElementById("compare-curves");
const add = document.getElementById("add-series");
const panels = new Map();

async function load(series) {
  const query = series ? `&series=${encodeURIComponent(series)}` : "";
  const response = await fetch(grid.dataset.url + query, { headers: { accept: "application/json" } });
  if (!response.ok) throw new Error(`The curves could not be read: ${response.status}.`);
  const { panels: found } = await response.json();
  grid.querySelector("p")?.remove();
  for (const panel of found) {
    if (panels.has(panel.id)) continue;
    panel.element = document.createElement("div");
    panel.element.className = "chart";
    grid.append(panel.element);
    panels.set(panel.id, panel);
    draw(panel.element, styled(panel, options()));
  }
}

function complain(error) {
  const line = document.createElement("p");
  line.className = "bad";
  line.textContent = error.message;
  grid.prepend(line);
}

onChange(() => panels.forEach((panel) => draw(panel.element, styled(panel, options()))));
add?.addEventListener("change", () => {
  if (add.value) load(add.value).catch(complain);
  add.value = "";
});
if (add) load().catch(complain);
