// Update the dry run while the rules are edited. The server computes it; without this script a button requests it.

const form = document.getElementById("rules-form");
const button = form.querySelector(".try");
const PAUSE_MS = 400;
let pause = 0;
let requests = 0;

button.hidden = true;

async function dryRun() {
  const mine = (requests += 1);
  const answer = await fetch(button.formAction, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (answer.redirected || ![200, 400].includes(answer.status) || mine !== requests) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["rules-problem", "rules-answer"]) {
    const fresh = page.getElementById(id);
    if (fresh) document.getElementById(id).replaceWith(fresh);
  }
}

form.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(() => dryRun().catch(() => {}), PAUSE_MS); // after a failure the next change tries again
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches(".trial input")) return;
  event.preventDefault();
  dryRun().catch(() => {});
});
if (form.elements.name.value) dryRun().catch(() => {});
