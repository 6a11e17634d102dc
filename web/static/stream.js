// The events of one execution, from a stream, or by polling if no stream is available. Each event has a position, so no
// event is missing or repeated after an interruption.

import { check, Events } from "./events.js";

const POLL_MS = 2000;

export class Stream {
  // `handlers` are log, partial, metadata, state and connection; the last gets a state of Events.
  // `filter` is the query that filters lines of the log.
  constructor(url, position, filter, handlers) {
    Object.assign(this, { url, position, filter, handlers });
    const handle = (kind) => (data, id) => {
      this.position = id;
      handlers[kind](data);
    };
    this.events = new Events({
      address: () => `${url}events?after=${this.position}&${filter}`,
      kinds: Object.fromEntries(["log", "partial", "metadata", "state"].map((kind) => [kind, handle(kind)])),
      poll: () => this.poll(),
      pollMs: POLL_MS,
      connection: handlers.connection,
    });
  }

  // Returns whether there is more to fetch at once.
  async poll() {
    const answer = await fetch(`${this.url}news?after=${this.position}&${this.filter}`);
    check(answer);
    const news = await answer.json();
    if (this.events.source || this.events.ended) return false;
    this.position = news.position;
    if (news.log) this.handlers.log(news.log);
    this.handlers.partial({ html: news.partial });
    if (news.metadata) this.handlers.metadata(news.metadata);
    this.handlers.state(news.state);
    if (news.end) this.events.end();
    return Boolean(news.log && news.log.to < news.log.total);
  }
}
