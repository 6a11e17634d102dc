// Live updates of pages with lists. When the stream reports a change, the page is fetched again and the differences are
// applied in place. The page does not change while the user types or selects something.

import { check, Events } from "./events.js";
import { patch, remember } from "./patch.js";

const INPUT = "input:not([type=checkbox], [type=radio], [type=button], [type=submit])";
const TYPED = `${INPUT}, select, textarea, [contenteditable]`;
const WORDS = {
  live: "",
  polling: "Updates every 10 s: all live connections are in use",
  lost: "Connection lost, retrying",
  out: "You are logged out. Reload the page to log in",
  "": "",
};
const main = document.getElementById("main");
let changes = document.body.dataset.changes;
let waiting = false; // for the user to leave the field
let fetching = null;
let again = false;

// One fetch at a time, and one more if something changes in the meantime.
function refresh() {
  if (main.contains(document.activeElement) && document.activeElement.matches(TYPED)) {
    waiting = true;
    return Promise.resolve();
  }
  again = fetching !== null;
  fetching ??= fetchPage().finally(() => {
    fetching = null;
    if (again) refresh().catch(() => {}); // the next change or poll fetches what is missing
  });
  return fetching;
}

async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  check(answer);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  changes = page.body.dataset.changes ?? changes;
  for (const added of patch(main, page.getElementById("main"))) flash(added);
  tell(page);
  document.dispatchEvent(new Event("refreshed"));
}

function flash(element) {
  if (!element.matches("tr, li, article")) return;
  element.classList.add("new");
  element.addEventListener("animationend", () => element.classList.remove("new"), { once: true });
}

// Show a changed state in the browser tab, and announce it once to screen readers.
function tell(page) {
  if (page.title === document.title) return;
  document.title = page.title;
  document.getElementById("favicon").href = page.getElementById("favicon").href;
  const announce = document.getElementById("announce");
  const says = document.querySelector("[data-says]")?.dataset.says;
  if (announce && says) announce.textContent = says;
}

function notice(text) {
  const place = document.getElementById("updates");
  place.textContent = text;
  place.hidden = !text;
}

if (changes) {
  remember(main, main.cloneNode(true));
  document.addEventListener("focusout", () => {
    if (!waiting) return;
    waiting = false;
    setTimeout(() => refresh().catch(() => {})); // once the next element has the focus
  });
  const soon = (withinMs) => setTimeout(() => refresh().catch(() => {}), Math.random() * withinMs);
  new Events({
    address: () => changes,
    kinds: { changed: ({ within_ms: withinMs }) => soon(withinMs) },
    opened: (reopened) => reopened && soon(1000),
    poll: refresh,
    connection: (state) => notice(WORDS[state]),
  });
}
