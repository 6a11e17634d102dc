// A tab of one execution: its head, log, charts and values, kept up to date while it is unfinished.

import { ChartView } from "./chart_view.js";
import { Charts } from "./charts.js";
import { Log } from "./log.js";
import { LogSearch } from "./log_search.js";
import { Resources } from "./resources.js";
import { Stream } from "./stream.js";
import { duration } from "./times.js";

const page = document.getElementById("execution");
const { url, favicons, position, started } = page.dataset;
const on = (id, make) => document.getElementById(id) && make();
const log = on("log", () => new Log(document.getElementById("log"), url));
if (log) on("search", () => new LogSearch(document.getElementById("search"), log, url));
document.getElementById("go-to")?.addEventListener("submit", (event) => {
  event.preventDefault();
  const line = Number(event.target.elements.line.value.replaceAll(",", ""));
  if (line > 0) location.hash = `#L${Math.min(line, log.total)}`;
});
const charts = on("charts", () => new Charts(url, started, on("axis", () => new ChartView())));
const resources = on("resources", () => new Resources(url, fetchParts));
const connection = document.getElementById("connection");
const WORDS = { live: "live", polling: "live (every 2 s)", lost: "connection lost, retrying", "": "" };
let fetching = false;
let stale = false; // something came while parts were fetched, which they may lack

// Everything marked data-part, as the server has it now.
async function fetchParts() {
  stale = fetching;
  if (fetching) return;
  fetching = true;
  try {
    const answer = await fetch(location.pathname + location.search);
    if (!answer.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const now = fresh.getElementById(part.id);
      if (part.id === "charts" && now && charts.merge(now)) continue;
      if (now && now.innerHTML !== part.innerHTML) part.replaceWith(now);
    }
    charts?.find();
    resources?.find();
  } finally {
    fetching = false;
    if (stale) fetchParts();
  }
}

function showMetadata(news) {
  const metric = document.getElementById("main-metric");
  stale = fetching;
  const now = news.latest[metric.dataset.key];
  if (now) metric.querySelector("b").textContent = now.text;
  if (!metric.dataset.key || charts?.append(news) === false) fetchParts();
}

// The bar of stages grows, and the time that is left shrinks.
function tick() {
  if (document.hidden) return;
  const bar = document.querySelector(".stages svg[data-since]");
  if (bar) bar.setAttribute("viewBox", `0 0 ${Math.max(0.001, (Date.now() - Date.parse(bar.dataset.since)) / 1000)} 12`);
  const left = document.querySelector("[data-usual]");
  if (left) left.textContent = leftText(Number(left.dataset.usual), (Date.now() - Date.parse(left.dataset.started)) / 1000);
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
    getSelection().selectAllChildren(text); // pages without TLS have no clipboard
  }
});

// The head without what goes on by itself.
function shape(place) {
  const copy = place.cloneNode(true);
  for (const part of copy.querySelectorAll("time, [data-usual], #main-metric")) part.textContent = "";
  for (const part of copy.querySelectorAll("svg")) part.removeAttribute("viewBox");
  copy.querySelector("#re-run")?.removeAttribute("open");
  return copy.innerHTML;
}

function showState({ status, sign, head, final }) {
  const place = document.getElementById("head");
  const fresh = document.createElement("div");
  fresh.innerHTML = head;
  if (shape(fresh) === shape(place)) return; // nobody loses a button under the pointer
  const focused = place.contains(document.activeElement);
  const open = place.querySelector("#re-run")?.open;
  place.innerHTML = head;
  if (open) place.querySelector("#re-run").open = true;
  if (focused) place.querySelector("button, summary")?.focus();
  listenToStop();
  if (status === page.dataset.status) return;
  page.dataset.status = status;
  document.title = document.title.replace(/^\S+/, sign);
  document.getElementById("favicon").href = `${favicons}${status}.svg`;
  document.getElementById("announce").textContent = `Execution: ${place.querySelector(".state").textContent.trim()}`;
  if (final) page.dataset.over = "";
  if (final || status === "started") fetchParts();
}

// Stop without leaving the page: where one is in the log stays as it is.
function listenToStop() {
  const form = document.getElementById("stop");
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    form.querySelector("button").disabled = true;
    const answer = await fetch(form.action, { method: "POST", body: new FormData(form), redirect: "manual" });
    if (answer.type !== "opaqueredirect") form.submit(); // shows what is wrong
  });
}

listenToStop();
if (!("final" in page.dataset)) {
  new Stream(url, position, log?.filter ?? "", {
    log: (lines) => log?.append(lines),
    partial: (lines) => log?.showPartial(lines),
    metadata: showMetadata,
    state: showState,
    connection: (state) => connection && (connection.textContent = WORDS[state]),
  });
  resources?.follow(() => "over" in page.dataset);
  setInterval(tick, 1000);
}
