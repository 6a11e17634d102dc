// The log panel. It holds a window of the log: the lines from `first` to before `next`, of `total`. While it is
// scrolled to the end, it follows new lines. Of a folded command it holds only the first line, and with a filter only
// the matching lines of the window.

const CHUNK_LINES = 500; // as the server cuts them
const BLOCK_LINES = 2000;
const LINE_PX = 18;
const KEPT_LINES = 40_000; // while following; "Load earlier lines" fetches the removed ones again
const NEAR_END_PX = 40;
const NEAR_EDGE_PX = 900; // from either end: the next block is fetched
const LINES = /^#L(\d{1,15})(?:-L(\d{1,15}))?$/;

const number = (value) => value.toLocaleString("en-US");

// Line numbers, from 0. One element may stand for many lines, such as those that the server has lost.
const start = (line) => Number(line.id.slice(1)) - 1;
const end = (line) => start(line) + Number(line.dataset.lines ?? 1);

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
    this.held = []; // new lines that came while a block was fetched, which may lack them
    this.moves = 0; // to other lines: an older one that still loads is given up
    this.hits = new Set(); // numbers of lines, from 1
    this.readCommands();
    this.listen();
    if (location.hash.startsWith("#L")) this.showMarked();
    else if (!new URLSearchParams(location.search).has("line")) this.scrollToEnd();
    this.update();
    this.fill();
  }

  get following() {
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    return (this.next >= this.total || this.behind) && scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  listen() {
    this.earlier.addEventListener("click", (event) => (event.preventDefault(), this.loadEarlier()));
    this.later.addEventListener("click", (event) => (event.preventDefault(), this.loadLater()));
    this.toEnd.addEventListener("click", () => this.jumpToEnd());
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.lines.addEventListener("click", (event) => this.clicked(event));
    addEventListener("hashchange", () => this.showMarked());
    const tools = document.getElementById("log-tools"); // folded on phones, where they would take half of the screen
    tools.addEventListener("click", () => tools.setAttribute("aria-expanded", String(tools.ariaExpanded === "false")));
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

  // Add the new lines from `from` to before `to`. If they do not adjoin the window, scrolling fetches them later.
  append(lines) {
    const { from, to, total, html } = lines;
    const following = this.following;
    this.total = Math.max(this.total, total);
    if (this.loading) this.held.push(lines);
    this.behind = from <= this.next && to > this.next && to < total; // the stream will send the rest
    if (from <= this.next && to > this.next) {
      this.add(html);
      this.next = to;
      if (following) this.prune();
      if (following) this.scrollToEnd();
    }
    this.update();
  }

  // Show unfinished lines below the last whole one, in place of the previous ones.
  showPartial({ html }) {
    const following = this.following;
    this.partial.innerHTML = html;
    if (following) this.scrollToEnd();
  }

  // Append the lines of `html` that are behind the window.
  add(html) {
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    for (const line of [...parsed.content.children]) {
      if (start(line) < this.next) continue;
      const chunk = Math.floor(start(line) / CHUNK_LINES);
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
    const matching = () => [...this.lines.children].reduce((sum, chunk) => sum + chunk.childElementCount, 0);
    const kept = () => (this.filter ? matching() : this.next - this.first);
    while (kept() > KEPT_LINES && this.lines.childElementCount > 2) {
      this.lines.firstElementChild.remove();
      this.first = start(this.lines.firstElementChild.firstElementChild);
    }
  }

  // Fetch up to BLOCK_LINES lines, from `first` on or those `before` a line, as the query says.
  async fetchBlock(query, folded) {
    const fold = this.commands.size ? `&folded=${[...folded].join()}` : "";
    const answer = await fetch(`${this.url}log.html?${query}&count=${BLOCK_LINES}${fold}&${this.filter}`);
    if (!answer.ok) throw new Error(answer.statusText);
    const parsed = document.createElement("template");
    parsed.innerHTML = await answer.text();
    const [first, next] = answer.headers.get("Log-Lines").split("-").map(Number);
    return { content: parsed.content, first, next };
  }

  // One request at a time, since each changes the window.
  async load(query, put, folded = this.folded) {
    if (this.loading) return;
    this.loading = true;
    try {
      put(await this.fetchBlock(query, folded));
    } finally {
      this.loading = false;
      for (const lines of this.held.splice(0)) if (lines.to > this.next) this.append(lines);
    }
    this.markHits();
    this.update();
    this.fill();
  }

  // Since few lines may match the filter, fetch more until the box is full.
  fill() {
    if (!this.filter) return;
    for (const { style, childElementCount } of this.lines.children) {
      style.containIntrinsicBlockSize = `auto ${LINE_PX * childElementCount}px`;
    }
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

  // Show another block, in which `fold` has changed the set of folded commands, unless `wanted` returns false by then.
  async replace(query, { fold = () => {}, wanted = () => true } = {}) {
    while (this.loading) await new Promise((done) => requestAnimationFrame(done));
    if (!wanted()) return;
    const folded = new Set(this.folded);
    fold(folded);
    const put = ({ content, first, next }) => {
      if (!wanted()) return;
      this.folded = folded;
      this.lines.replaceChildren(content);
      this.first = first;
      this.next = next;
      this.total = Math.max(this.total, this.next);
    };
    await this.load(query, put, folded);
  }

  scrolled() {
    this.update();
    const { scrollTop, scrollHeight, clientHeight } = this.box;
    const nearEnd = scrollHeight - scrollTop - clientHeight < NEAR_EDGE_PX;
    if (scrollTop < NEAR_EDGE_PX && this.first > 0) this.loadEarlier();
    else if (nearEnd && this.next < this.total && !this.behind) this.loadLater();
  }

  // The lines of each command, from `first` to before `end`.
  readCommands() {
    const { commands = "", spans = "", folded = "" } = this.box.dataset;
    const numbers = (text) => text.split(",").filter(Boolean).map(Number);
    const ends = spans.split(",").map((span) => span.split("-"));
    const lines = ([first, last]) => ({ first: Number(first), end: Number(last || Infinity) });
    this.commands = new Map(numbers(commands).map((command, i) => [command, { command, ...lines(ends[i]) }]));
    this.folded = new Set(numbers(folded));
  }

  foldedCommands() {
    return [...this.commands.values()].filter(({ command }) => this.folded.has(command));
  }

  foldAt(line) {
    return this.foldedCommands().find((one) => one.first <= line && line < one.end);
  }

  // The query of a block with this line and some unfolded lines before it.
  around(line) {
    return `first=${Math.max(this.lastFoldEnd(line), line - BLOCK_LINES / 4, 0)}`;
  }

  lastFoldEnd(line) {
    return Math.max(0, ...this.foldedCommands().map((one) => one.end).filter((stop) => stop <= line));
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
    await this.replace(this.around(first), { fold: (folded) => folded.delete(command) || folded.add(command) });
    this.box.scrollTop = place() - above;
    document.querySelector(`[data-command="${command}"]`)?.focus({ preventScroll: true });
  }

  async jumpToEnd() {
    const wanted = this.move();
    if (this.next < this.total) await this.replace(`before=${Number.MAX_SAFE_INTEGER}`, { wanted }); // it is growing
    if (!wanted()) return;
    this.scrollToEnd();
    this.box.focus({ preventScroll: true });
  }

  // Returns a function that returns whether this is still the last move.
  move() {
    const mine = (this.moves += 1);
    return () => mine === this.moves;
  }

  // Go to the lines in the address, which may be outside the window.
  async showMarked() {
    const [, from, to] = location.hash.match(LINES) ?? [];
    await this.mark(Number(from ?? 0), Number(to ?? from ?? 0));
  }

  elements() {
    return [...this.lines.querySelectorAll(".chunk > div")];
  }

  async mark(from, to) {
    const wanted = this.move();
    for (const line of this.lines.querySelectorAll(".marked")) line.classList.remove("marked");
    if (!from || from > this.total) return;
    const fold = this.foldAt(from - 1);
    const hidden = fold && fold.first < from - 1;
    if (hidden || from <= this.first || from > this.next) {
      await this.replace(this.around(from - 1), { wanted, fold: (folded) => hidden && folded.delete(fold.command) });
      if (!wanted()) return;
    }
    const line = document.getElementById(`L${from}`) ?? this.elements().find((one) => start(one) >= from);
    for (let i = from; i <= Math.min(to, this.next); i += 1) document.getElementById(`L${i}`)?.classList.add("marked");
    this.centre(line);
    requestAnimationFrame(() => this.centre(line)); // its neighbours have their real heights by then
  }

  // Scroll the box, but not the page.
  centre(line) {
    if (!line) return;
    const { top } = line.getBoundingClientRect();
    this.box.scrollTop += top - this.box.getBoundingClientRect().top - this.box.clientHeight / 2;
  }

  markHits() {
    if (!this.hits.size) return;
    for (const line of this.elements()) line.classList.toggle("hit", this.hits.has(start(line) + 1));
  }

  scrollToEnd() {
    this.box.scrollTop = this.box.scrollHeight;
    requestAnimationFrame(() => (this.box.scrollTop = this.box.scrollHeight)); // see mark()
  }

  update() {
    const following = this.following;
    if (following) this.seen = this.total;
    this.earlier.hidden = this.first === 0;
    this.later.hidden = this.next >= this.total;
    this.partial.hidden = this.next < this.total;
    const whole = this.first === 0 && this.next >= this.total;
    this.nothing.hidden = !this.filter || !whole || this.lines.querySelector(".chunk > div:not(.head)") !== null;
    this.toEnd.hidden = following || this.box.scrollHeight <= this.box.clientHeight + NEAR_END_PX;
    const unseen = this.total - this.seen;
    this.toEnd.textContent = unseen ? `Jump to end · ${number(unseen)} new` : "Jump to end";
    this.count.textContent = number(this.total);
  }
}
