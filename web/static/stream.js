// The server's events of one execution: from a stream, or by polling where no stream can be had. A position goes with
// each, so that after a break nothing is missing and nothing comes twice.

const POLL_MS = 2000;
const STREAM_AGAIN_MS = 30_000;

export class Stream {
  // `handlers` are log, partial, metadata, state and connection; the last gets "live", "polling" or "lost".
  constructor(url, position, handlers) {
    Object.assign(this, { url, position, handlers, source: null, timer: 0, ended: false });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.open()));
    addEventListener("pagehide", () => this.pause());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    if (!document.hidden) this.open();
  }

  open() {
    if (this.ended || this.source) return;
    clearTimeout(this.timer);
    const source = new EventSource(`${this.url}events?after=${this.position}`);
    this.source = source;
    for (const kind of ["log", "partial", "metadata", "state"]) {
      source.addEventListener(kind, (event) => {
        this.position = event.lastEventId;
        this.handlers[kind](JSON.parse(event.data));
      });
    }
    source.addEventListener("open", () => this.handlers.connection("live"));
    source.addEventListener("end", () => this.end());
    source.addEventListener("error", () => {
      if (this.source !== source) return;
      this.handlers.connection("lost");
      if (source.readyState === EventSource.CLOSED) {
        this.pause();
        this.poll(performance.now() + STREAM_AGAIN_MS);
      }
    });
  }

  pause() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  end() {
    this.ended = true;
    this.pause();
    this.handlers.connection("");
  }

  async poll(until) {
    let more = false;
    try {
      const answer = await fetch(`${this.url}news?after=${this.position}`);
      if (!answer.ok) throw new Error(answer.statusText);
      more = this.take(await answer.json());
    } catch {
      this.handlers.connection("lost");
    }
    if (this.ended || this.source || document.hidden) return;
    if (performance.now() > until) this.open();
    else this.timer = setTimeout(() => this.poll(until), more ? 0 : POLL_MS);
  }

  // What polling brought; true when there is more to fetch at once.
  take(news) {
    if (this.source || this.ended) return false;
    this.position = news.position;
    this.handlers.connection("polling");
    if (news.log) this.handlers.log(news.log);
    this.handlers.partial({ html: news.partial });
    if (news.metadata) this.handlers.metadata(news.metadata);
    this.handlers.state(news.state);
    if (news.end) this.end();
    return Boolean(news.log && news.log.to < news.log.total);
  }
}
