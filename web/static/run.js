// The form of a run: what was changed, its problems and the commands follow what is typed. The server computes them.

const form = document.getElementById("run");
const PAUSE_MS = 400;
let pause = 0;
let asked = 0;

for (const button of form.querySelectorAll(".no-script")) button.hidden = true;

async function update() {
  const mine = (asked += 1);
  const body = new URLSearchParams([...new FormData(form)].filter(([name]) => name !== "pick"));
  const answer = await fetch(form.getAttribute("action"), { method: "POST", body });
  if (!answer.ok || answer.redirected || mine !== asked) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const beside of form.querySelectorAll(".beside")) take(page, beside.id);
  take(page, "problems");
  take(page, "command-vh");
  take(page, "command-curl");
}

function take(page, id) {
  const fresh = page.getElementById(id);
  const shown = document.getElementById(id);
  if (fresh && shown && fresh.innerHTML !== shown.innerHTML) shown.innerHTML = fresh.innerHTML;
}

form.addEventListener("input", (event) => {
  if (event.target.name === "search" || event.target.name === "pick") return;
  clearTimeout(pause);
  pause = setTimeout(update, PAUSE_MS);
});
