// A stream of server-sent events for a visible tab. Over HTTP/1.1 browsers allow six connections to a server for all
// tabs together, and further requests hang. So at most MOST_STREAMS tabs have a stream at one time. Other tabs poll,
// and so does a tab whose stream the server has refused.

const POLL_MS = 10_000;
const AGAIN_MS = 30_000; // between two attempts of a polling tab to open a stream
const SILENT_MS = 40_000; // the connection is dead: the server sends something every 15 s
const MOST_STREAMS = 4;
const KEPT_MS = 15_000; // a tab that has not renewed its entry for so long counts as closed
const SLOTS = "pushmill-streams";

// The tabs that have a stream, and when each last renewed its entry.
function holders() {
  const known = Object.entries(JSON.parse(localStorage.getItem(SLOTS) ?? "{}"));
  return Object.fromEntries(known.filter(([, at]) => Math.abs(Date.now() - at) < KEPT_MS));
}

// Returns whether this tab may have a stream, and renews its entry.
function hold(tab) {
  if (performance.getEntriesByType("navigation")[0]?.nextHopProtocol !== "http/1.1") return true;
  try {
    const known = holders();
    if (!(tab in known) && Object.keys(known).length >= MOST_STREAMS) return false;
    localStorage.setItem(SLOTS, JSON.stringify({ ...known, [tab]: Date.now() }));
  } catch {
    // tabs cannot be counted without storage
  }
  return true;
}

function release(tab) {
  try {
    const { [tab]: _, ...others } = holders();
    localStorage.setItem(SLOTS, JSON.stringify(others));
  } catch {
    // as above
  }
}

// For `poll()`: throw an error if this is not the answer of the page that was asked for.
export function check(answer) {
  if (answer.redirected) throw new LoggedOut();
  if (!answer.ok) throw new Error(answer.statusText);
}

class LoggedOut extends Error {}

export class Events {
  // `address()` returns the URL of the stream. `kinds` maps kinds of events to functions that get the data and the id.
  // `opened(again)` is called when the stream opens, and `poll()` every `pollMs` while there is none. `connection` gets
  // "live", "polling", "lost", "out" (logged out) or "".
  constructor({ address, kinds, opened = () => {}, poll, pollMs = POLL_MS, connection }) {
    Object.assign(this, { address, kinds, opened, poll, pollMs, connection });
    this.tab = Math.random().toString(36).slice(2);
    this.source = null;
    this.timer = 0;
    this.wasOpen = this.ended = false;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.pause() : this.open()));
    addEventListener("pagehide", () => this.pause());
    addEventListener("pageshow", (event) => event.persisted && this.open());
    setInterval(() => this.watch(), KEPT_MS / 3);
    if (!document.hidden) this.open();
  }

  open() {
    if (this.ended || this.source || document.hidden) return;
    clearTimeout(this.timer);
    if (!hold(this.tab)) {
      this.startPolling();
      return;
    }
    const source = (this.source = new EventSource(this.address()));
    this.heardAt = Date.now();
    const listen = (kind, act) =>
      source.addEventListener(kind, (event) => {
        this.heardAt = Date.now();
        if (this.source === source) act(event);
      });
    for (const [kind, act] of Object.entries(this.kinds)) {
      listen(kind, (event) => act(JSON.parse(event.data), event.lastEventId));
    }
    listen("beat", () => {});
    listen("end", () => this.end());
    listen("open", () => {
      this.connection("live");
      this.opened(this.wasOpen);
      this.wasOpen = true;
    });
    listen("error", () => {
      if (source.readyState !== EventSource.CLOSED) this.connection("lost");
      else {
        this.pause();
        this.startPolling();
      }
    });
  }

  // After hours of sleep a connection may be dead without an error.
  watch() {
    if (!this.source) return;
    hold(this.tab);
    if (Date.now() - this.heardAt < SILENT_MS) return;
    this.pause();
    this.open();
  }

  pause() {
    clearTimeout(this.timer);
    this.source?.close();
    if (this.source) release(this.tab);
    this.source = null;
  }

  end() {
    this.ended = true;
    this.pause();
    this.connection("");
  }

  startPolling() {
    this.again = Date.now() + AGAIN_MS;
    this.pollOnce();
  }

  async pollOnce() {
    let more = false;
    try {
      more = await this.poll();
      if (!this.ended) this.connection(this.source ? "live" : "polling");
    } catch (error) {
      this.connection(error instanceof LoggedOut ? "out" : "lost");
    }
    if (this.ended || this.source || document.hidden) return;
    if (Date.now() > this.again) this.open();
    else this.timer = setTimeout(() => this.pollOnce(), more ? 0 : this.pollMs);
  }
}
