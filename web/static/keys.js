// Keyboard shortcuts, and the command palette, which goes to a project, a tab or any link of the page. Single-key
// shortcuts are ignored in text fields, and can be switched off in the help.

const TYPED = "input:not([type=checkbox], [type=radio]), select, textarea, [contenteditable]";
const OFF = "pushmill-keys-off";
const HITS = 12;
const help = document.getElementById("keys");
const palette = document.getElementById("palette");
const typed = palette.querySelector("input");
const hits = palette.querySelector("ul");
let places = null;

const ROW = "main :is(tr, li, article)[id]";
const rows = () => [...document.querySelectorAll(ROW)].filter((row) => row.querySelector("a[href]"));
const row = () => document.activeElement.closest(ROW);
const visible = (element) => element?.checkVisibility();

function step(by) {
  const all = rows();
  const at = all.indexOf(row());
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
  next?.querySelector("a[href]").focus();
}

const keys = {
  "/": () => [...document.querySelectorAll("main input[type=search]")].find(visible)?.focus(),
  j: () => step(1),
  k: () => step(-1),
  x: () => row()?.querySelector("input[type=checkbox]")?.click(),
  c: () => [...document.querySelectorAll("#chosen .primary, a[data-key=c]")].find(visible)?.click(),
  "?": () => help.showModal(),
};

// Links of the page by their text, and all projects that the user may see.
async function findPlaces() {
  const links = new Map();
  const add = (root, prefix) => {
    for (const link of root.querySelectorAll("a[href]")) {
      const text = `${prefix}${(link.ariaLabel ?? link.textContent).replace(/\s+/g, " ").trim()}`;
      if (text && !links.has(text)) links.set(text, new URL(link.getAttribute("href"), location.href).href);
    }
  };
  document.querySelectorAll("header, .tabs, main").forEach((part) => add(part, ""));
  places = links;
  show();
  const answer = await fetch("/");
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  page.querySelectorAll("#projects .card-head :is(h2, h3)").forEach((heading) => add(heading, "Project "));
  show();
}

function show() {
  const words = typed.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [...places].filter(([text]) => words.every((word) => text.toLowerCase().includes(word))).slice(0, HITS);
  const chosen = hits.contains(document.activeElement) ? document.activeElement.textContent : null;
  hits.replaceChildren(...found.map(([text, href]) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.textContent = text;
    link.href = href;
    item.append(link);
    return item;
  }));
  if (chosen === null) return;
  ([...hits.querySelectorAll("a")].find((link) => link.textContent === chosen) ?? typed).focus();
}

function openPalette() {
  if (palette.open) return;
  typed.value = "";
  palette.showModal();
  findPlaces().catch(() => {}); // without the projects, the links of the page are still listed
}

palette.addEventListener("keydown", (event) => {
  const links = [...hits.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
  if (to !== undefined) {
    event.preventDefault();
    (links[to] ?? typed).focus();
  } else if (event.key === "Enter" && at < 0) {
    event.preventDefault();
    links[0]?.click();
  }
});
typed.addEventListener("input", show);

const single = help.querySelector("input");
single.checked = !localStorage.getItem(OFF);
single.addEventListener("change", () => {
  if (single.checked) localStorage.removeItem(OFF);
  else localStorage.setItem(OFF, "1");
});
document.getElementById("show-keys")?.addEventListener("click", keys["?"]);

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    openPalette();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (localStorage.getItem(OFF) || event.target.matches(TYPED) || document.querySelector("dialog[open]")) return;
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});
