// A tab of an execution: head, log, charts and values, updated live until it has finished.

import { Charts, isNumber } from "./charts.js";
import { Log } from "./log.js";
import { LogSearch } from "./log_search.js";
import { persistentFetch } from "./persistent_fetch.js";
import { Resources } from "./resources.js";
import { Stream } from "./stream.js";
import { duration } from "./times.js";

const page = document.getElementById("execution");
const { url, favicons, position, started } = page.dataset;
const ifPresent = (id, create) => document.getElementById(id) && create();
const log = ifPresent("log", () => new Log(document.getElementById("log"), url));
if (log) ifPresent("search", () => new LogSearch(document.getElementById("search"), log, url));
document.getElementById("go-to")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const line = Number(event.target.elements.line.value.replaceAll(",", ""));
  if (line > 0) location.hash = `#L${Math.min(line, log.total)}`;
});
const charts = ifPresent("charts", () => new Charts(url, started));
const resources = ifPresent("resources", () => new Resources(url, fetchParts));
const connection = document.getElementById("connection");
const WORDS = {
  live: "live",
  polling: "live (every 2 s)",
  lost: "connection lost, retrying",
  out: "logged out, reload the page",
  "": "",
};
const DETAILS = ["#re-run", "details.banner"]; // in the head
const STALE_MS = 2000; // before the page is fetched once more
const asked = new Set(); // new keys, and first numbers of keys, for which the page was fetched
let fetching = false;
let stale = false; // something changed during the fetch, so its answer may be out of date
let meanwhile = { points: {}, latest: {} }; // newest metadata that came during the fetch: its answer may lack it

// Replace all elements with data-part by their current versions.
async function fetchParts() {
  stale = fetching;
  if (fetching) return;
  fetching = true;
  try {
    const answer = await persistentFetch(location.pathname + location.search);
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const current = fresh.getElementById(part.id);
      if (part.id === "charts" && current && charts.merge(current)) continue;
      if (current && current.innerHTML !== part.innerHTML) replacePart(part, current);
    }
    charts?.addChoices(fresh);
    charts?.find();
    resources?.find();
    showMetadata(meanwhile);
  } finally {
    fetching = false;
    meanwhile = { points: {}, latest: {} };
    if (stale) setTimeout(fetchParts, STALE_MS);
  }
}

// A text field in which one types is kept.
function replacePart(part, current) {
  const typing = part.contains(document.activeElement) && document.activeElement.matches("input[id]:not([type])");
  const field = typing ? document.activeElement : null;
  part.replaceWith(current);
  const fresh = field && document.getElementById(field.id);
  if (!fresh) return;
  fresh.replaceWith(field);
  field.focus({ preventScroll: true });
}

function hearMetadata(news) {
  if (fetching) for (const part of ["points", "latest"]) Object.assign(meanwhile[part], news[part]);
  const metric = document.getElementById("main-metric");
  const numbers = Object.keys(news.points).filter((key) => isNumber(news.points[key]));
  const missing = [...showMetadata(news), ...(metric.dataset.key ? [] : numbers)];
  const unasked = missing.map((key) => `${numbers.includes(key)} ${key}`).filter((one) => !asked.has(one));
  unasked.forEach((one) => asked.add(one));
  if (unasked.length) fetchParts();
}

// Returns the keys that the page has no place for. Showing an event again changes nothing.
function showMetadata(news) {
  const metric = document.getElementById("main-metric");
  const now = news.latest[metric.dataset.key];
  if (now) metric.querySelector("b").textContent = now.text;
  return charts?.append(news) ?? [];
}

// Each second: lengthen the bar of stages, and update the remaining time.
function tick() {
  if (document.hidden) return;
  const secondsSince = (time) => (Date.now() - Date.parse(time)) / 1000;
  const bar = document.querySelector(".stages svg[data-since]");
  if (bar) bar.setAttribute("viewBox", `0 0 ${Math.max(0.001, secondsSince(bar.dataset.since))} 12`);
  const left = document.querySelector("[data-usual]");
  if (left) left.textContent = leftText(Number(left.dataset.usual), secondsSince(left.dataset.started));
}

function leftText(usual, ran) {
  const seconds = usual - ran;
  if (seconds <= 0) return `usually ${duration(usual)}`;
  const step = seconds > 120 ? 60 : 10;
  return `about ${duration(Math.ceil(seconds / step) * step)} left`;
}

document.addEventListener("click", async ({ target }) => {
  const text = document.getElementById(target.dataset?.copies ?? "");
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text.textContent);
    target.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(text); // browsers give pages without TLS no access to the clipboard
  }
});

// The HTML of the head without the parts that change every second.
function shape(place) {
  const copy = place.cloneNode(true);
  for (const part of copy.querySelectorAll("time, [data-usual], #main-metric")) part.textContent = "";
  for (const part of copy.querySelectorAll("svg")) part.removeAttribute("viewBox");
  for (const part of copy.querySelectorAll("details")) part.removeAttribute("open");
  copy.querySelector("h1").removeAttribute("tabindex");
  return copy.innerHTML;
}

// What a button, link or summary keeps when the head is rendered again; times in it pass.
function control(element) {
  const copy = element.cloneNode(true);
  for (const part of copy.querySelectorAll("time")) part.remove();
  return [element.tagName, element.form?.action ?? element.href, copy.textContent.trim()].join(" ");
}

// Neither close what is open, nor move the focus to another control: its next key would press that one.
function replaceHead(place, head) {
  const open = DETAILS.filter((selector) => place.querySelector(selector)?.open);
  const focused = place.contains(document.activeElement) && control(document.activeElement);
  place.innerHTML = head;
  for (const selector of open) place.querySelector(selector)?.setAttribute("open", "");
  if (!focused) return;
  const same = [...place.querySelectorAll("a, button, summary")].find((element) => control(element) === focused);
  const heading = place.querySelector("h1");
  heading.tabIndex = -1; // only scripts can focus it
  (same ?? heading).focus({ preventScroll: true });
}

function showState({ status, sign, head, final }) {
  const place = document.getElementById("head");
  const fresh = document.createElement("div");
  fresh.innerHTML = head;
  if (shape(fresh) === shape(place)) return; // a replaced button would lose the pointer
  replaceHead(place, head);
  listenToStop();
  if (status === page.dataset.status) return;
  page.dataset.status = status;
  document.title = document.title.replace(/^\S+/, sign);
  document.getElementById("favicon").href = `${favicons}${status}.svg`;
  document.getElementById("announce").textContent = `Execution: ${place.querySelector(".state").textContent.trim()}`;
  if (final) page.dataset.over = "";
  if (final || status === "started") fetchParts();
}

// Send the form without leaving the page, which would lose the position in the log.
function listenToStop() {
  const form = document.getElementById("stop");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" });
      if (answer.type !== "opaqueredirect") form.submit(); // the answer is a page with the reason
    } catch { // no connection; the request is not repeated, since a second one kills
      button.disabled = false;
    }
  });
}

listenToStop();
if (!("final" in page.dataset)) {
  new Stream(url, position, log?.filter ?? "", {
    log: (lines) => log?.append(lines),
    partial: (lines) => log?.showPartial(lines),
    metadata: hearMetadata,
    state: showState,
    connection: (state) => connection && (connection.textContent = WORDS[state]),
  });
  resources?.follow(() => "over" in page.dataset);
  setInterval(tick, 1000);
}
