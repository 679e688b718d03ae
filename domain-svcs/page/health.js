// How the shop is: a light for each service, what waits in queues and groups, and the figures at a glance.

import { by, h, lapse, number, onFrame, plural, say } from "./dom.js";

const LAMPS = { up: "●", degraded: "◐", down: "✕", unknown: "○" };
const SAYS = { up: "Up", degraded: "Trouble", down: "Down", unknown: "Unknown" };

const count = (value, grave = false) => ({
  text: number(value), kind: value > 0 ? (grave ? "number much" : "number some") : "number zero",
});
const QUEUES = [
  ["Queue", (queue) => ({ text: queue.paused ? `${queue.queue} (paused)` : queue.queue })],
  ["Ready", (queue) => count(queue.ready)],
  ["In flight", (queue) => count(queue.in_flight)],
  ["Delayed", (queue) => count(queue.delayed)],
  ["Dead letters", (queue) => count(queue.dead_letters, true)],
  ["Oldest", (queue) => ({ text: queue.ready > 0 ? lapse(queue.oldest) : "", kind: "number" })],
  ["Done a second", (queue) => ({ text: queue.acked_per_second.toFixed(1), kind: "number zero" })],
];
const GROUPS = [
  ["Group", (group) => ({ text: group.group })],
  ["Topic", (group) => ({ text: group.topic })],
  ["Lag", (group) => count(group.lag)],
  ["Under way", (group) => count(group.pending)],
  ["Parked", (group) => count(group.parked, true)],
  ["Oldest", (group) => ({ text: group.pending > 0 ? lapse(group.oldest_pending) : "", kind: "number" })],
  ["Done a second", (group) => ({ text: group.acked_per_second.toFixed(1), kind: "number zero" })],
];

/** A table whose cells change and whose rows stay. */
class Grid {
  #columns;
  #rows = new Map();
  #body;

  constructor(table, columns) {
    this.#columns = columns;
    this.#body = table.tBodies[0];
    const heads = columns.map(([head], at) => h("th", { scope: "col", class: at > 0 && head !== "Topic" ? "number" : null }, head));
    table.tHead.replaceChildren(h("tr", {}, heads));
  }

  show(items, key) {
    const seen = new Set();
    for (const item of items) {
      const id = key(item);
      seen.add(id);
      if (!this.#rows.has(id)) {
        const [first, ...others] = this.#columns;
        const row = h("tr", { "data-id": id }, h("th", { scope: "row" }), others.map(() => h("td")));
        this.#rows.set(id, row);
        this.#body.append(row);
      }
      const cells = this.#rows.get(id).cells;
      this.#columns.forEach(([, cell], at) => {
        const { text, kind = "" } = cell(item);
        say(cells[at], text);
        if (cells[at].className !== kind) cells[at].className = kind;
      });
    }
    for (const [id, row] of this.#rows) {
      if (seen.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
  }
}

export class Health {
  #status = null;
  #live = false;
  #known = { groups: [], queues: [] };
  #lights = new Map();
  #figures = new Map();
  #queues = new Grid(by("queues"), QUEUES);
  #groups = new Grid(by("groups"), GROUPS);
  #draw = onFrame(() => this.#render());

  constructor() {
    for (const name of ["Services", "Events stored", "Groups behind", "In queues", "Set aside"]) {
      const value = h("dd", {}, "–");
      const figure = h("div", { class: "figure" }, h("dt", {}, name), value);
      this.#figures.set(name, { figure, value });
      by("figures").append(figure);
    }
  }

  heard(status) {
    this.#status = status;
    this.#live = true;
    this.#known = { groups: status.groups ?? this.#known.groups, queues: status.queues ?? this.#known.queues };
    this.#draw();
  }

  /** The gateway cannot be reached, so nothing can be told of what is behind it. */
  lost() {
    this.#live = false;
    this.#draw();
  }

  /** Names of services that are not up. */
  troubled() {
    return this.#services().filter(({ state }) => state === "down" || state === "degraded").map(({ name }) => name);
  }

  #services() {
    const services = this.#status?.services ?? [];
    if (this.#live) return services;
    return services.map(({ name }) => name === "api-gateway"
      ? { name, state: "down", text: "does not answer this page" }
      : { name, state: "unknown", text: "cannot be told while the gateway is away" });
  }

  #render() {
    if (!this.#status) return;
    const services = this.#services();
    for (const service of services) this.#light(service);
    const { groups, queues } = this.#known;
    this.#queues.show(queues, ({ queue }) => queue);
    this.#groups.show(groups, ({ group, topic }) => `${group} ${topic}`);
    say(by("flows-said"), this.#said());
    this.#glance(services, groups, queues);
  }

  #said() {
    if (!this.#live) return "The gateway is away: as it was last seen.";
    const away = [
      this.#status.queues ? null : "queues as last seen: message-queue-svc is away",
      this.#status.groups ? null : "groups as last seen: event-store-svc is away",
    ].filter(Boolean);
    return away.length ? `${away.join("; ")}.`.replace(/^./, (first) => first.toUpperCase()) : "Looked at once a second.";
  }

  #light({ name, state, text }) {
    if (!this.#lights.has(name)) {
      const parts = {
        lamp: h("span", { class: "lamp", "aria-hidden": "true" }), says: h("span", { class: "says" }), what: h("span", { class: "what" }),
      };
      const item = h("li", { "data-name": name }, parts.lamp, h("span", { class: "name" }, name), parts.says, parts.what);
      by("services").append(item);
      this.#lights.set(name, { item, ...parts });
    }
    const { item, lamp, says, what } = this.#lights.get(name);
    item.dataset.state = state;
    say(lamp, LAMPS[state] ?? LAMPS.unknown);
    say(says, SAYS[state] ?? SAYS.unknown);
    say(what, text);
  }

  #glance(services, groups, queues) {
    const up = services.filter(({ state }) => state === "up").length;
    const [down, degraded] = ["down", "degraded"].map((bad) => services.some(({ state }) => state === bad));
    if (!this.#live) this.#figure("Services", "–", " not known", "warn");
    else this.#figure("Services", `${up}`, ` of ${services.length} up`, down ? "bad" : degraded ? "warn" : "");
    const topics = this.#status.topics;
    if (topics) this.#figure("Events stored", number(topics.reduce((sum, topic) => sum + topic.events, 0)), "", "");
    const lag = groups.reduce((sum, group) => sum + group.lag + group.pending, 0);
    this.#figure("Groups behind", number(lag), ` ${lag === 1 ? "event" : "events"}`, "");
    const waiting = queues.reduce((sum, queue) => sum + queue.ready + queue.in_flight + queue.delayed, 0);
    this.#figure("In queues", number(waiting), ` ${waiting === 1 ? "message" : "messages"}`, "");
    const dead = queues.reduce((sum, queue) => sum + queue.dead_letters, 0);
    const parked = groups.reduce((sum, group) => sum + group.parked, 0);
    const aside = parked ? ` dead, ${plural(parked, "event")} parked` : dead === 1 ? " dead letter" : " dead letters";
    this.#figure("Set aside", number(dead), aside, dead + parked > 0 ? "bad" : "");
  }

  #figure(name, value, unit, level) {
    const { figure, value: shown } = this.#figures.get(name);
    figure.dataset.level = level;
    const text = value + unit;
    if (shown.dataset.text === text) return;
    shown.dataset.text = text;
    shown.replaceChildren(value, h("small", {}, unit));
  }
}
