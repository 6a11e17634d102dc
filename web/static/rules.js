// Update the dry run of the rules while they are edited. The server computes it; without this script a button requests it.

const form = document.getElementById("rules-form");
const button = form.querySelector(".try");
const PAUSE_MS = 400;
let pause = 0;
let asked = 0;

button.hidden = true;

async function rehearse() {
  const mine = (asked += 1);
  const answer = await fetch(button.formAction, { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (answer.redirected || ![200, 400].includes(answer.status) || mine !== asked) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["rules-problem", "rules-answer"]) {
    const fresh = page.getElementById(id);
    if (fresh) document.getElementById(id).replaceWith(fresh);
  }
}

form.addEventListener("input", () => {
  clearTimeout(pause);
  pause = setTimeout(() => rehearse().catch(() => {}), PAUSE_MS); // if the server cannot be reached, the next change tries again
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches(".trial input")) return;
  event.preventDefault();
  rehearse().catch(() => {});
});
if (form.elements.name.value) rehearse().catch(() => {});
