// Lists that change: what is marked data-refresh is fetched again every so many seconds while the page can be seen. After it
// was put in place the document gets the event "refreshed".

const SCROLLED = ".table-box, .graph, .scrolled";
const shown = new WeakMap(); // what the server said last of an element; scripts may have changed it since

async function refresh(element) {
  const answer = await fetch(location.href);
  if (!answer.ok || answer.redirected) return element;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById(element.id);
  if (element.querySelector("details[open]")) return element;
  if (!fresh || element.contains(document.activeElement) || element.contains(getSelection().anchorNode)) return element;
  const said = fresh.innerHTML;
  if (said === (shown.get(element) ?? element.innerHTML)) return element;
  shown.set(fresh, said);
  replace(element, fresh);
  tell(page, fresh);
  document.dispatchEvent(new Event("refreshed"));
  return fresh;
}

// What one has scrolled sideways stays where it is, and what one has checked stays checked.
function replace(element, fresh) {
  const boxes = (root) => [root, ...root.querySelectorAll(SCROLLED)];
  const places = boxes(element).map((box) => box.scrollLeft);
  const checked = new Set([...element.querySelectorAll(".picked:checked")].map((box) => box.value));
  element.replaceWith(fresh);
  for (const box of fresh.querySelectorAll(".picked")) box.checked = checked.has(box.value);
  boxes(fresh).forEach((box, i) => (box.scrollLeft = places[i] ?? 0));
}

// A state that has changed is seen in the tab as well, and said once.
function tell(page, fresh) {
  if (page.title === document.title) return;
  document.title = page.title;
  document.getElementById("favicon").href = page.getElementById("favicon").href;
  const announce = document.getElementById("announce");
  if (announce) announce.textContent = fresh.dataset.says;
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
