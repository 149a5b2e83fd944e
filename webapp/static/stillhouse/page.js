// What every page needs: confirmation dialogs, copy buttons, menus that close, forms that are not sent twice.

const dialog = document.getElementById("confirm");

function ask(element) {
  dialog.querySelector("#confirm-title").textContent = element.dataset.confirm;
  dialog.querySelector("#confirm-text").textContent = element.dataset.confirmText ?? "";
  const yes = dialog.querySelector('[data-choice="yes"]');
  yes.textContent = element.dataset.confirmYes ?? "Yes";
  dialog.showModal();
  return new Promise((resolve) => {
    const finish = (value) => {
      dialog.onclick = dialog.oncancel = null;
      dialog.close();
      resolve(value);
    };
    dialog.onclick = (event) => {
      const chosen = event.target.closest("[data-choice]")?.dataset.choice;
      if (chosen || event.target === dialog) finish(chosen === "yes");
    };
    dialog.oncancel = () => finish(false);
  });
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  const asker = event.submitter?.dataset.confirm ? event.submitter : form;
  if (asker.dataset.confirm && form.dataset.confirmed !== "yes") {
    event.preventDefault();
    const submitter = event.submitter;
    if (await ask(asker)) {
      form.dataset.confirmed = "yes";
      form.requestSubmit(submitter);
      delete form.dataset.confirmed;
    }
    return;
  }
  if (form.method === "post" && !form.hasAttribute("hx-post")) {
    // After this turn, so that the pressed button's own name and value are still sent.
    setTimeout(() => form.querySelectorAll("button[type=submit]").forEach((button) => (button.disabled = true)));
  }
});

// A page restored by the browser's back button gets its buttons back.
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("button[type=submit]:disabled").forEach((button) => (button.disabled = false));
});

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    const text = document.getElementById(copy.dataset.copy).textContent;
    await write(text);
    const label = copy.textContent;
    copy.textContent = "Copied";
    announce("Copied to the clipboard");
    setTimeout(() => (copy.textContent = label), 1500);
  }
  document.querySelectorAll("details.menu[open]").forEach((menu) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.querySelector("details.menu[open]");
  if (menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

async function write(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // Plain HTTP on another machine has no clipboard API.
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

// Where the navigation does not fit, it is scrolled to the page that one is on.
const here = document.querySelector('.nav [aria-current="page"]');
if (here) here.parentElement.scrollLeft = here.offsetLeft - 40;

// Small things that are found by their data attributes.
document.addEventListener("click", (event) => {
  const toggle = event.target.closest("[data-toggle]");
  if (toggle) {
    const part = document.getElementById(toggle.dataset.toggle);
    part.hidden = !part.hidden;
    toggle.setAttribute("aria-expanded", String(!part.hidden));
    toggle.textContent = part.hidden ? toggle.textContent.replace("Hide", "Show") : toggle.textContent.replace("Show", "Hide");
  }
  const opener = event.target.closest("[data-open]");
  if (opener) document.getElementById(opener.dataset.open).showModal();
  if (event.target.closest("[data-close]")) event.target.closest("dialog").close();
});
document.addEventListener("change", (event) => {
  if (event.target.matches("select[data-submit]")) event.target.form.requestSubmit();
});
