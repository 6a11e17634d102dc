// The log panel: a window of lines, from `first` up to `next` of `total`, that follows the end while one is at the end.

const CHUNK_LINES = 500; // as the server cuts them
const BLOCK_LINES = 2000;
const KEPT_LINES = 40_000; // while following; what is above comes back with "Load earlier lines"
const NEAR_END_PX = 40;

const number = (value) => value.toLocaleString("en-US");

// Numbers of lines, from 0. An element may stand for many lines, such as those that the server has lost.
const begin = (line) => Number(line.id.slice(1)) - 1;
const end = (line) => begin(line) + Number(line.dataset.lines ?? 1);

export class Log {
  constructor(box, url) {
    this.box = box;
    this.url = url;
    this.lines = document.getElementById("lines");
    this.partial = document.getElementById("partial");
    this.earlier = document.getElementById("earlier");
    this.later = document.getElementById("later");
    this.toEnd = document.getElementById("to-end");
    this.count = document.getElementById("log-total");
    this.first = Number(box.dataset.first);
    this.next = Number(box.dataset.next);
    this.total = Number(box.dataset.total);
    this.seen = this.total;
    this.listen();
    if (location.hash.startsWith("#L")) this.showMarked();
    else if (!new URLSearchParams(location.search).has("line")) this.scrollToEnd();
    this.update();
  }

  get following() {
    return this.next >= this.total && this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < NEAR_END_PX;
  }

  listen() {
    this.earlier.addEventListener("click", (event) => (event.preventDefault(), this.loadEarlier()));
    this.later.addEventListener("click", (event) => (event.preventDefault(), this.loadLater()));
    this.toEnd.addEventListener("click", () => this.jumpToEnd());
    this.box.addEventListener("scroll", () => this.update(), { passive: true });
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
    while (this.next - this.first > KEPT_LINES && this.lines.childElementCount > 2) {
      this.lines.firstElementChild.remove();
      this.first = begin(this.lines.firstElementChild.firstElementChild);
    }
  }

  async fetchBlock(first, count) {
    const answer = await fetch(`${this.url}log.html?first=${first}&count=${count}`);
    if (!answer.ok) throw new Error(answer.statusText);
    return answer.text();
  }

  async loadEarlier() {
    const first = Math.max(0, this.first - BLOCK_LINES);
    const html = await this.fetchBlock(first, this.first - first);
    const fromEnd = this.box.scrollHeight - this.box.scrollTop;
    this.lines.insertAdjacentHTML("afterbegin", html);
    this.first = first;
    this.update();
    this.box.scrollTop = this.box.scrollHeight - fromEnd;
  }

  async loadLater() {
    const html = await this.fetchBlock(this.next, BLOCK_LINES);
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    const lines = [...parsed.content.querySelectorAll(".chunk > div")];
    this.add(lines.map((line) => line.outerHTML).join(""));
    if (lines.length) this.next = end(lines.at(-1));
    this.update();
  }

  async replace(first) {
    const html = await this.fetchBlock(first, BLOCK_LINES);
    this.lines.innerHTML = html;
    this.first = first;
    const lines = [...this.lines.querySelectorAll(".chunk > div")];
    this.next = lines.length ? end(lines.at(-1)) : first;
    this.total = Math.max(this.total, this.next);
    this.update();
  }

  async jumpToEnd() {
    if (this.next < this.total) await this.replace(Math.max(0, this.total - BLOCK_LINES));
    this.scrollToEnd();
    this.box.focus({ preventScroll: true });
  }

  // Go to the line that the address names, wherever in the log it is.
  async showMarked() {
    const wanted = Number(location.hash.match(/^#L(\d+)$/)?.[1] ?? 0);
    this.lines.querySelector(".marked")?.classList.remove("marked");
    if (!wanted || wanted > this.total) return;
    if (wanted <= this.first || wanted > this.next) await this.replace(Math.max(0, wanted - 1 - BLOCK_LINES / 4));
    const line = document.getElementById(`L${wanted}`);
    line?.classList.add("marked");
    line?.scrollIntoView({ block: "center" });
    requestAnimationFrame(() => line?.scrollIntoView({ block: "center" })); // the chunks around it have their height now
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
    this.toEnd.hidden = following || this.box.scrollHeight <= this.box.clientHeight + NEAR_END_PX;
    const unseen = this.total - this.seen;
    this.toEnd.textContent = unseen ? `Jump to end · ${number(unseen)} new` : "Jump to end";
    this.count.textContent = number(this.total);
  }
}
