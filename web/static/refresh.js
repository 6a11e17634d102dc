// Lists that change: what is marked data-refresh is fetched again every so many seconds while the page can be seen.

async function refresh(element) {
  const answer = await fetch(location.href);
  if (!answer.ok || answer.redirected) return element;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(element.id);
  if (element.querySelector("details[open]")) return element;
  if (!fresh || element.contains(document.activeElement) || element.contains(getSelection().anchorNode)) return element;
  if (fresh.innerHTML === element.innerHTML) return element;
  element.replaceWith(fresh);
  return fresh;
}

async function keep(element) {
  while (element.dataset.refresh) {
    await new Promise((done) => setTimeout(done, 1000 * Number(element.dataset.refresh)));
    if (document.hidden) continue;
    try {
      element = await refresh(element);
    } catch {
      // the server is away for a moment: the next round asks again
    }
  }
}

document.querySelectorAll("[data-refresh]").forEach(keep);
