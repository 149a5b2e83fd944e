// The launch page: the tabs "Form" and "Paste JSON".

const panels = { form: document.getElementById("launch-form"), json: document.getElementById("json-form") };
const tabs = [...document.querySelectorAll("[data-tab]")];

function show(name) {
  for (const tab of tabs) {
    const chosen = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
    panels[tab.dataset.tab].hidden = !chosen;
  }
}

for (const tab of tabs) {
  tab.addEventListener("click", () => show(tab.dataset.tab));
  tab.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    const other = tabs[(tabs.indexOf(tab) + 1) % tabs.length];
    show(other.dataset.tab);
    other.focus();
  });
}

document.querySelector("[aria-invalid=true], .field.wrong input")?.focus();

// What was typed stands with this page in the browser's history: going back to it, or loading it again, brings it back.
const fields = () => [...new FormData(panels.form)].filter(([name]) => name !== "csrfmiddlewaretoken" && name !== "idempotency_key");
const remember = () => history.replaceState({ ...history.state, launch: fields() }, "");
let soon;
panels.form.addEventListener("input", () => {
  clearTimeout(soon); // a browser allows few writes a second
  soon = setTimeout(remember, 250);
});
panels.form.addEventListener("change", remember);
window.addEventListener("beforeunload", remember);
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id === "launch-fields") remember();
});

function bringBack(typed) {
  const values = {};
  for (const [name, value] of typed) (values[name] ??= []).push(value);
  const { fields: url } = panels.form.dataset;
  window.htmx.ajax("POST", url, { source: panels.form, target: "#launch-fields", swap: "outerHTML", values });
}

window.addEventListener("pageshow", (event) => {
  if (event.persisted) return;
  const way = performance.getEntriesByType("navigation")[0]?.type;
  if (way === "reload" || way === "back_forward") {
    if (history.state?.launch) bringBack(history.state.launch);
    return;
  }
  // A choice made before htmx was ready has not been sent: the settings are still another's.
  for (const select of document.querySelectorAll("#launch-form select[hx-post]")) {
    if ([...select.options].some((option) => option.selected && !option.defaultSelected)) window.htmx.trigger(select, "change");
  }
});
