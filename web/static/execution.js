// The page of one execution: its log and charts, kept up to date while it is unfinished.

import { Charts } from "./charts.js";
import { Log } from "./log.js";
import { Resources } from "./resources.js";
import { Stream } from "./stream.js";

const page = document.getElementById("execution");
const { url, favicons, position, started } = page.dataset;
const log = new Log(document.getElementById("log"), url);
const charts = new Charts(url, started);
const resources = new Resources(url, fetchParts);
const connection = document.getElementById("connection");
const WORDS = { live: "live", polling: "live (every 2 s)", lost: "connection lost, retrying", "": "" };
let fetching = false;

// Charts, values, outputs and history, as the server has them now.
async function fetchParts() {
  if (fetching) return;
  fetching = true;
  try {
    const answer = await fetch(`${url}parts`);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["charts", "resources", "side"]) document.getElementById(id).replaceWith(fresh.getElementById(id));
    charts.find();
    resources.find();
  } finally {
    fetching = false;
  }
}

function showState({ status, sign, head, final }) {
  const place = document.getElementById("head");
  const focused = place.contains(document.activeElement);
  place.innerHTML = head;
  if (focused) place.querySelector("button")?.focus();
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
  new Stream(url, position, {
    log: (lines) => log.append(lines),
    partial: (lines) => log.showPartial(lines),
    metadata: (news) => charts.append(news) || fetchParts(),
    state: showState,
    connection: (state) => (connection.textContent = WORDS[state]),
  });
  resources.follow(() => "over" in page.dataset);
}
