// Search in a whole log. The server searches and answers in parts; the buttons and Enter go from hit to hit.

const PAUSE_MS = 200;
const MOST_HITS = 20_000;

const number = (value) => value.toLocaleString("en-US");

export class LogSearch {
  constructor(form, log, url) {
    Object.assign(this, { form, log, url, hits: [], at: -1, searches: 0, done: true });
    this.text = form.elements.q;
    this.output = form.querySelector("output");
    this.text.value = new URLSearchParams(location.search).get("q") ?? "";
    let pause = 0;
    this.text.addEventListener("input", () => {
      clearTimeout(pause);
      pause = setTimeout(() => this.search(), PAUSE_MS);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.step(1);
    });
    this.text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !event.shiftKey) return;
      event.preventDefault();
      this.step(-1);
    });
    document.getElementById("hit-before").addEventListener("click", () => this.step(-1));
    const filter = document.getElementById("log-filter");
    filter.addEventListener("click", ({ target }) => this.keepPlace(target.closest("a")));
    if (this.text.value) this.search(!location.hash);
    else this.show();
  }

  get query() {
    const query = new URLSearchParams(this.log.filter);
    if (this.text.value) query.set("q", this.text.value);
    return query;
  }

  // A link to another filter keeps the searched text and the marked lines.
  keepPlace(link) {
    if (!link) return;
    const query = new URLSearchParams(link.search);
    query.delete("q");
    if (this.text.value) query.set("q", this.text.value);
    link.search = query;
    link.hash = location.hash;
  }

  async search(go = true) {
    const mine = (this.searches += 1);
    Object.assign(this, { hits: [], at: -1, done: false, failed: false });
    const { query } = this;
    history.replaceState(null, "", `${location.pathname}${query.size ? `?${query}` : ""}${location.hash}`);
    let first = this.text.value ? 1 : null;
    while (first !== null && mine === this.searches && this.hits.length < MOST_HITS) {
      query.set("first", first);
      let part;
      try {
        const answer = await fetch(`${this.url}log/search?${query}`);
        if (!answer.ok) throw new Error(answer.statusText);
        part = await answer.json();
      } catch {
        this.failed = true;
        break;
      }
      if (mine !== this.searches) return;
      const hadHits = this.hits.length > 0;
      this.hits.push(...part.lines);
      first = part.next;
      this.mark();
      if (go && !hadHits && this.hits.length) this.step(1);
      this.show();
    }
    if (mine !== this.searches) return;
    this.done = first === null;
    this.mark();
    this.show(true);
  }

  mark() {
    this.log.hits = new Set(this.hits);
    for (const line of this.log.lines.querySelectorAll(".hit")) line.classList.remove("hit");
    this.log.markHits();
  }

  step(by) {
    if (!this.hits.length) return;
    this.at = this.at < 0 && by < 0 ? this.hits.length - 1 : (this.at + by + this.hits.length) % this.hits.length;
    const line = this.hits[this.at];
    history.replaceState(null, "", `${location.pathname}${location.search}#L${line}`);
    this.log.mark(line, line);
    this.show(true);
  }

  show(settled = false) {
    const { length } = this.hits;
    const found = `${number(length)}${this.done || !settled ? "" : "+"} ${length === 1 ? "hit" : "hits"}`;
    if (!this.text.value) this.output.textContent = "";
    else if (this.failed) this.output.textContent = "search failed";
    else if (!length) this.output.textContent = this.done ? "no hits" : "searching…";
    else this.output.textContent = this.at < 0 ? found : `${number(this.at + 1)} of ${found}`;
    for (const id of ["hit-before", "hit-after"]) document.getElementById(id).disabled = !length;
  }
}
