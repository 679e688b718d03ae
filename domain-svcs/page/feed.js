// What the gateway tells: one WebSocket, opened again by itself when it is lost. The events of a topic are numbered
// without holes, so what is missing is seen and asked for, and what comes twice is dropped.

import { get } from "./rest.js";

/** The topics of the shop, in the order in which a story is told. */
export const TOPICS = ["customer", "product", "inventory", "cart", "order", "billing", "shipping", "mail"];

const FIRST_WAIT = 250;
const LONGEST_WAIT = 8_000;
/** The gateway tells how the shop is every second. */
const SILENCE = 5_000;
/** Missed events that are asked for; of more, the newest. */
const MOST_MISSED = 500;
/** Events of each topic from before the page was opened. */
export const EARLIER = 20;
const MOST_WAITING = 2_000;

/**
 * Tells of: `event` (frame, how: "live", "missed", "earlier"), `start` (topic, position), `skipped` (topic, count,
 * position), `status` (data), `connection` ({ state, wait }), `caughtUp` (count).
 */
export class Feed extends EventTarget {
  #socket = null;
  #logs = new Map();
  #wait = FIRST_WAIT;
  #retry = 0;
  #silence = 0;
  #fresh = false;
  #connected = 0;
  #caughtUp = 0;
  #missing = 0;

  constructor() {
    super();
    addEventListener("online", () => this.now());
    addEventListener("offline", () => this.#socket?.close());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.now());
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  /** Connects at once, unless it is connected. */
  now() {
    if (this.#socket) return;
    clearTimeout(this.#retry);
    this.#wait = FIRST_WAIT;
    this.open();
  }

  open() {
    clearTimeout(this.#retry);
    const url = new URL("/ws?for=page", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#fresh = true;
    this.#listen();
    socket.addEventListener("message", (message) => {
      if (socket !== this.#socket) return;
      this.#listen();
      this.#frame(JSON.parse(message.data));
    });
    socket.addEventListener("close", () => this.#lost(socket));
  }

  /** A connection that says nothing is none, whatever it is called. */
  #listen() {
    clearTimeout(this.#silence);
    const socket = this.#socket;
    this.#silence = setTimeout(() => {
      socket.close();
      this.#lost(socket);
    }, SILENCE);
  }

  #lost(socket) {
    if (socket !== this.#socket) return;
    this.#socket = null;
    clearTimeout(this.#silence);
    const wait = this.#wait * (0.7 + 0.6 * Math.random());
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT);
    this.#tell("connection", { state: "lost", wait });
    this.#retry = setTimeout(() => this.open(), wait);
  }

  #frame(frame) {
    if (frame.action === "status") this.#status(frame.data);
    else if (frame.action === "events_reset") this.#anew();
    else if (frame.topic) this.#event(frame);
    // `events_missed` needs nothing: the numbers show what is missing.
  }

  /** The topics are not what they were: whatever is known is forgotten. */
  #anew() {
    this.#logs.clear();
    this.#tell("anew");
  }

  #status(status) {
    if (this.#fresh) {
      this.#wait = FIRST_WAIT;
      this.#connected += 1;
      this.#tell("connection", { state: "live", again: this.#connected > 1 });
    }
    this.#tell("status", status);
    if (!status.topics) return;
    const heads = new Map(status.topics.map((topic) => [topic.topic, topic]));
    const renewed = TOPICS.some((topic) => {
      const log = this.#logs.get(topic);
      return log?.created && log.created !== heads.get(topic)?.created_at;
    });
    if (renewed) this.#anew();
    const again = this.#fresh && this.#connected > 1 && this.#logs.size > 0;
    this.#fresh = false;
    if (again) this.#caughtUp = 0;
    for (const topic of TOPICS) this.#head(topic, heads.get(topic), again);
    if (again && this.#missing === 0) this.#tell("caughtUp", 0);
  }

  /** Compares what was heard of a topic with how far it is. */
  #head(topic, head, again) {
    const last = head?.last_sequence ?? 0;
    const log = this.#logs.get(topic);
    if (!log) {
      this.#logs.set(topic, { last, created: head?.created_at, waiting: [], filling: false, behind: 0 });
      this.#tell("start", { topic, position: head?.last_position ?? null });
      if (last > 0) this.#earlier(topic, last);
      return;
    }
    log.created ??= head?.created_at;
    // What is told of the head may overtake the events: only what is missing a second later is missing.
    const missing = last > log.last && (again || log.behind > log.last);
    log.behind = last;
    if (missing) this.#fill(topic, log, last, head.last_position);
  }

  async #earlier(topic, to) {
    const frames = await get(`/page/events/${topic}?to=${to}&limit=${EARLIER}`).catch(() => []);
    for (const frame of frames) this.#tell("event", { frame, how: "earlier" });
  }

  #event(frame) {
    const log = this.#logs.get(frame.topic);
    // Before the first status nothing is known; what comes now is in what is asked for then.
    if (!log || frame.sequence <= log.last) return;
    if (frame.sequence === log.last + 1 && !log.filling) {
      log.last = frame.sequence;
      this.#tell("event", { frame, how: "live" });
      return;
    }
    // A hole: what is missing comes first.
    log.waiting.push(frame);
    if (log.waiting.length > MOST_WAITING) log.waiting.shift();
    if (!log.filling) this.#fill(frame.topic, log, frame.sequence - 1, null);
  }

  async #fill(topic, log, to, position) {
    if (log.filling) return;
    log.filling = true;
    this.#missing += 1;
    try {
      const missing = to - log.last;
      const limit = Math.min(missing, MOST_MISSED);
      const frames = await get(`/page/events/${topic}?to=${to}&limit=${limit}`);
      const found = frames.filter((frame) => frame.sequence > log.last);
      log.last = to;
      this.#caughtUp += missing;
      // The newest shows what all of them led to: more is asked for as state, not as events.
      if (found.length < missing) {
        const seen = position ?? found.at(-1)?.position ?? null;
        this.#tell("skipped", { topic, count: missing - found.length, position: seen });
      }
      for (const frame of found) this.#tell("event", { frame, how: "missed" });
    } catch {
      // The next status, or the next event, shows again what is missing.
      return;
    } finally {
      log.filling = false;
      this.#missing -= 1;
    }
    const waiting = log.waiting;
    log.waiting = [];
    for (const frame of waiting) this.#event(frame);
    if (this.#missing === 0) this.#tell("caughtUp", this.#caughtUp);
  }
}
