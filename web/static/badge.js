// The badge picker: show the badge of each choice at once. The server makes the addresses; without this script a button
// requests them.

const form = document.getElementById("badge-choice");

form.querySelector("button").hidden = true;
form.addEventListener("change", async () => {
  const url = new URL(form.action);
  url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  const answer = await fetch(url);
  if (!answer.ok || answer.redirected) return form.submit();
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("badge-chosen");
  document.getElementById("badge-chosen").replaceWith(fresh);
  history.replaceState(null, "", url);
});
