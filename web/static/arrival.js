// The page of a new runner: wait until the list of runners shows its first heartbeat.

const POLL_MS = 2000;
const arrival = document.getElementById("arrival");
const { runner, after, list } = arrival.dataset;

async function arrived() {
  const answer = await fetch(list, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.getElementById(`runner-${runner}`);
  const seen = found?.querySelector(".panel-head time")?.dateTime ?? "";
  if (seen <= after || !found.querySelector(".state.complete")) return false;
  const state = arrival.querySelector(".state");
  state.classList.replace("queued", "complete");
  state.lastChild.textContent = `${runner} is online`;
  return true;
}

async function wait() {
  while (document.hidden || !(await arrived().catch(() => false))) {
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}

wait();
