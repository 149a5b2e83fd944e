// The sliders and ticks above curves; remembered, since people look at all their curves in the same way.

const slider = document.getElementById("smoothing");
const output = document.getElementById("smoothing-value");
const logY = document.getElementById("log-y");
const key = "stillhouse.charts";

/** What is chosen now. */
export function options() {
  return { smoothing: Number(slider.value), log: logY.checked };
}

/** Calls back after each change. */
export function onChange(callback) {
  for (const input of [slider, logY]) {
    input.addEventListener("input", () => {
      show();
      localStorage.setItem(key, JSON.stringify(options()));
      callback();
    });
  }
}

function show() {
  output.textContent = Number(slider.value) ? slider.value : "off";
}

const saved = JSON.parse(localStorage.getItem(key) ?? "{}");
slider.value = saved.smoothing ?? 0;
logY.checked = saved.log ?? false;
show();
