// The form that runs a step, task or pipeline. After each change of a field the server computes the differences, the
// problems and the commands again.

const form = document.getElementById("run");
const PAUSE_MS = 400;
let pause = 0;
let requests = 0;

for (const button of form.querySelectorAll(".no-script")) button.hidden = true;

async function update() {
  const mine = (requests += 1);
  const body = new URLSearchParams([...new FormData(form)].filter(([name]) => name !== "pick"));
  const answer = await fetch(form.getAttribute("action"), { method: "POST", body });
  if (!answer.ok || answer.redirected || mine !== requests) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const beside of form.querySelectorAll(".beside")) replace(page, beside.id);
  replace(page, "problems");
  replace(page, "command-vh");
  replace(page, "command-curl");
}

function replace(page, id) {
  const fresh = page.getElementById(id);
  const shown = document.getElementById(id);
  if (fresh && shown && fresh.innerHTML !== shown.innerHTML) shown.innerHTML = fresh.innerHTML;
}

form.addEventListener("input", (event) => {
  if (event.target.name === "search" || event.target.name === "pick") return;
  clearTimeout(pause);
  pause = setTimeout(update, PAUSE_MS);
});
