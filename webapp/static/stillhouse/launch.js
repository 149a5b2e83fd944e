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

// A choice made before htmx was ready, or brought back by the browser with the page, has not been sent: the settings are still another's.
window.addEventListener("pageshow", () => {
  for (const select of document.querySelectorAll("#launch-form select[hx-post]")) {
    if ([...select.options].some((option) => option.selected && !option.defaultSelected)) window.htmx.trigger(select, "change");
  }
});
