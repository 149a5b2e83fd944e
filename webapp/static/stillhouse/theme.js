// Runs before the page is painted: the chosen theme, else the system's. The toggle is found by its data attribute, on every page.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("stillhouse.theme");
  const apply = () => {
    document.documentElement.dataset.theme = chosen() ?? (system.matches ? "dark" : "light");
    document.dispatchEvent(new CustomEvent("themechange"));
  };
  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", (event) => event.key === "stillhouse.theme" && apply());
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-theme-toggle]")) return;
    localStorage.setItem("stillhouse.theme", document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    apply();
  });
})();
