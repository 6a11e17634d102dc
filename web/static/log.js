// The log panel: a window of lines, from `first` up to `next` of `total`, that follows the end while one is at the end.
// Commands may be folded: their first line then stands for all of their lines. With a filter, the lines of a window that
// match are in it.

const CHUNK_LINES = 500; // as the server cuts them
const BLOCK_LINES = 2000;
const LINE_PX = 18;
const KEPT_LINES = 40_000; // while following; what is above comes back with "Load earlier lines"
const NEAR_END_PX = 40;
const NEAR_EDGE_PX = 900; // there the next block is fetched
const LINES = /^#L(\d{1,15})(?:-L(\d{1,15}))?$/;

const number = (value) => value.toLocaleString("en-US");

// Numbers of lines, from 0. An element may stand for many lines, such as those that the server has lost.
const begin = (line) => Number(line.id.slice(1)) - 1;
const end = (line) => begin(line) + Number(line.dataset.lines ?? 1);

export class Log {
  constructor(box, url) {
    this.box = box;
    this.url = url;
    this.lines = document.getElementById("lines");
    this.filter = box.dataset.filter ?? "";
    this.nothing = document.getElementById("no-lines");
    this.partial = document.getElementById("partial");
    this.earlier = document.getElementById("earlier");
    this.later = document.getElementById("later");
    this.toEnd = document.getElementById("to-end");
    this.count = document.getElementById("log-total");
    this.first = Number(box.dataset.first);
    this.next = Number(box.dataset.next);
    this.total = Number(box.dataset.total);
    this.seen = this.total;
    this.behind = this.loading = false;
    this.hits = new Set(); // numbers of lines, from 1
    this.readCommands();
    this.listen();
    if (location.hash.startsWith("#L")) this.showMarked();
    else if (!new URLSearchParams(location.search).has("line")) this.scrollToEnd();
    this.update();
    this.fill();
  }

  get following() {
    return (this.next >= this.total || this.behind) && this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END_PX;
  }

  listen() {
    this.earlier.addEventListener("click", (event) => (event.preventDefault(), this.loadEarlier()));
    this.later.addEventListener("click", (event) => (event.preventDefault(), this.loadLater()));
    this.toEnd.addEventListener("click", () => this.jumpToEnd());
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.lines.addEventListener("click", (event) => this.clicked(event));
    addEventListener("hashchange", () => this.showMarked());
    for (const [id, name] of [["wrap", "wrapped"], ["times", "timed"]]) {
      const button = document.getElementById(id);
      button.addEventListener("click", () => this.toggle(button, name));
    }
  }

  toggle(button, name) {
    const following = this.following;
    const on = this.box.classList.toggle(name);
    button.setAttribute("aria-pressed", String(on));
    if (following) this.scrollToEnd();
  }

  // Lines `from` up to `to` have come; those that are not adjacent to the window are fetched when somebody goes there.
  append({ from, to, total, html }) {
    const following = this.following;
    this.total = Math.max(this.total, total);
    this.behind = from <= this.next && to > this.next && to < total; // the next part is on its way
    if (from <= this.next && to > this.next) {
      this.add(html);
      this.next = to;
      if (following) this.prune();
      if (following) this.scrollToEnd();
    }
    this.update();
  }

  // Lines that are still being printed, below the last whole one; the next ones replace them.
  showPartial({ html }) {
    const following = this.following;
    this.partial.innerHTML = html;
    if (following) this.scrollToEnd();
  }

  // Those of the lines that come after the window.
  add(html) {
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    for (const line of [...parsed.content.children]) {
      if (begin(line) < this.next) continue;
      const chunk = Math.floor(begin(line) / CHUNK_LINES);
      if (this.lines.lastElementChild?.dataset.chunk !== String(chunk)) {
        const element = document.createElement("div");
        element.className = "chunk";
        element.dataset.chunk = chunk;
        this.lines.append(element);
      }
      this.lines.lastElementChild.append(line);
    }
  }

  prune() {
    const kept = () => (this.filter ? [...this.lines.children].reduce((sum, chunk) => sum + chunk.childElementCount, 0) : this.next - this.first);
    while (kept() > KEPT_LINES && this.lines.childElementCount > 2) {
      this.lines.firstElementChild.remove();
      this.first = begin(this.lines.firstElementChild.firstElementChild);
    }
  }

  // The lines from `first` on or `before` a line, and which ones they cover.
  async fetchBlock(query) {
    const folded = this.commands.size ? `&folded=${[...this.folded].join()}` : "";
    const answer = await fetch(`${this.url}log.html?${query}&count=${BLOCK_LINES}${folded}&${this.filter}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const parsed = document.createElement("template");
    parsed.innerHTML = await answer.text();
    const [first, next] = answer.headers.get("Log-Lines").split("-").map(Number);
    return { content: parsed.content, first, next };
  }

  // One request at a time: the window changes with each.
  async load(query, put) {
    if (this.loading) return;
    this.loading = true;
    try {
      put(await this.fetchBlock(query));
    } finally {
      this.loading = false;
    }
    this.markHits();
    this.update();
    this.fill();
  }

  // Few lines may match: more are fetched until the box is full.
  fill() {
    if (!this.filter) return;
    for (const chunk of this.lines.children) chunk.style.containIntrinsicBlockSize = `auto ${LINE_PX * chunk.childElementCount}px`;
    requestAnimationFrame(() => this.scrolled());
  }

  loadEarlier() {
    return this.load(`before=${this.first}`, ({ content, first }) => {
      const fromEnd = this.box.scrollHeight - this.box.scrollTop;
      this.lines.prepend(content);
      this.first = first;
      this.earlier.hidden = first === 0;
      this.box.scrollTop = this.box.scrollHeight - fromEnd;
    });
  }

  loadLater() {
    return this.load(`first=${this.next}`, ({ content, next }) => {
      const lines = [...content.querySelectorAll(".chunk > div")];
      this.add(lines.map((line) => line.outerHTML).join(""));
      this.next = Math.max(this.next, next);
      this.prune();
    });
  }

  async replace(query) {
    while (this.loading) await new Promise((done) => requestAnimationFrame(done));
    await this.load(query, ({ content, first, next }) => {
      this.lines.replaceChildren(content);
      this.first = first;
      this.next = next;
      this.total = Math.max(this.total, this.next);
    });
  }

  scrolled() {
    this.update();
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    if (scrollTop < NEAR_EDGE_PX && this.first > 0) this.loadEarlier();
    else if (scrollHeight - scrollTop - clientHeight < NEAR_EDGE_PX && this.next < this.total && !this.behind) this.loadLater();
  }

  // Numbers of lines from 0, by the number of the command.
  readCommands() {
    const { commands = "", spans = "", folded = "" } = this.box.dataset;
    const numbers = (text) => text.split(",").filter(Boolean).map(Number);
    const ends = spans.split(",").map((span) => span.split("-"));
    this.commands = new Map(numbers(commands).map((command, i) => [command, { command, first: Number(ends[i][0]), end: Number(ends[i][1] || Infinity) }]));
    this.folded = new Set(numbers(folded));
  }

  foldAt(line) {
    return [...this.commands.values()].find(({ command, first, end: stop }) => this.folded.has(command) && first <= line && line < stop);
  }

  // A line with those before it that are not folded.
  around(line) {
    return `first=${Math.max(this.lastFoldEnd(line), line - BLOCK_LINES / 4, 0)}`;
  }

  lastFoldEnd(line) {
    return Math.max(0, ...[...this.commands.values()].filter((one) => this.folded.has(one.command) && one.end <= line).map((one) => one.end));
  }

  clicked(event) {
    const button = event.target.closest("[data-command]");
    const link = event.target.closest(".chunk a");
    if (button) this.fold(Number(button.dataset.command));
    else if (link && event.shiftKey) {
      event.preventDefault();
      const [, from] = location.hash.match(LINES) ?? [];
      const ends = [Number(from ?? link.textContent), Number(link.textContent)].sort((a, b) => a - b);
      location.hash = ends[0] === ends[1] ? `#L${ends[0]}` : `#L${ends[0]}-L${ends[1]}`;
    }
  }

  // Fold or unfold a command; its first line stays where it is.
  async fold(command) {
    const { first } = this.commands.get(command);
    const place = () => document.getElementById(`L${first + 1}`)?.offsetTop ?? 0;
    const above = place() - this.box.scrollTop;
    if (!this.folded.delete(command)) this.folded.add(command);
    await this.replace(this.around(first));
    this.box.scrollTop = place() - above;
    document.querySelector(`[data-command="${command}"]`)?.focus({ preventScroll: true });
  }

  async jumpToEnd() {
    if (this.next < this.total) await this.replace(`before=${this.total}`);
    this.scrollToEnd();
    this.box.focus({ preventScroll: true });
  }

  // Go to the lines that the address names, wherever in the log they are.
  async showMarked() {
    const [, from, to] = location.hash.match(LINES) ?? [];
    await this.mark(Number(from ?? 0), Number(to ?? from ?? 0));
  }

  async mark(from, to) {
    for (const line of this.lines.querySelectorAll(".marked")) line.classList.remove("marked");
    if (!from || from > this.total) return;
    const fold = this.foldAt(from - 1);
    const hidden = fold && fold.first < from - 1 && this.folded.delete(fold.command);
    if (hidden || from <= this.first || from > this.next) await this.replace(this.around(from - 1));
    const line = document.getElementById(`L${from}`) ?? [...this.lines.querySelectorAll(".chunk > div")].find((one) => begin(one) >= from);
    for (let number = from; number <= Math.min(to, this.next); number += 1) document.getElementById(`L${number}`)?.classList.add("marked");
    this.centre(line);
    requestAnimationFrame(() => this.centre(line)); // the chunks around it have their height now
  }

  // Only the box scrolls: the page stays.
  centre(line) {
    if (!line) return;
    const { top } = line.getBoundingClientRect();
    this.box.scrollTop += top - this.box.getBoundingClientRect().top - this.box.clientHeight / 2;
  }

  markHits() {
    if (!this.hits.size) return;
    for (const line of this.lines.querySelectorAll(".chunk > div")) line.classList.toggle("hit", this.hits.has(Number(line.id.slice(1))));
  }

  scrollToEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    requestAnimationFrame(() => (this.box.scrollTop = this.box.scrollHeight)); // as above
  }

  update() {
    const following = this.following;
    if (following) this.seen = this.total;
    this.earlier.hidden = this.first === 0;
    this.later.hidden = this.next >= this.total;
    this.partial.hidden = this.next < this.total;
    this.nothing.hidden = !this.filter || this.first > 0 || this.next < this.total || this.lines.querySelector(".chunk > div:not(.head)") !== null;
    this.toEnd.hidden = following || this.box.scrollHeight <= this.box.clientHeight + NEAR_END_PX;
    const unseen = this.total - this.seen;
    this.toEnd.textContent = unseen ? `Jump to end · ${number(unseen)} new` : "Jump to end";
    this.count.textContent = number(this.total);
  }
}
