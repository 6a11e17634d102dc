// The page with the checks of a connection: fetch it again each second until all checks are done.

import { patch, remember } from "./patch.js";

const POLL_MS = 1000;
const checks = document.getElementById("checks");

async function fetched() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  patch(checks, page.getElementById("checks"));
}

async function follow() {
  remember(checks, checks.cloneNode(true));
  while (checks.hasAttribute("data-running")) {
    await new Promise((done) => setTimeout(done, POLL_MS));
    if (!document.hidden) await fetched().catch(() => {});
  }
}

follow();
