// The live events: newest first, filtered by topic, paused at will, each with its details as JSON on demand.

import { MOST_FRESH, by, h, number, onFrame, plural, say, time } from "./dom.js";
import { EARLIER, TOPICS } from "./feed.js";
import { about, spaced } from "./words.js";

/** Events that are kept, and those of them that are drawn. */
const MOST_KEPT = 500;
const MOST_DRAWN = 200;

export class Events {
  #kept = [];
  #held = [];
  #heldBack = 0;
  #paused = false;
  #early = false;
  #shown = new Set(TOPICS);
  #drawn = new Map();
  #notes = [];
  #shop;
  #list = by("events");
  #pause = by("events-pause");
  #draw = onFrame(() => this.#render());

  constructor(shop) {
    this.#shop = shop;
    const chip = (topic) => {
      const box = h("input", {
        type: "checkbox", name: "topic", value: topic, checked: true,
        onchange: () => {
          if (box.checked) this.#shown.add(topic);
          else this.#shown.delete(topic);
          this.#draw();
        },
      });
      return h("label", {}, box, h("span", {}, topic));
    };
    by("events-filter").append(...TOPICS.map(chip));
    this.#pause.addEventListener("click", () => this.#toggle());
    this.#draw();
  }

  add(frame, how) {
    this.#early ||= how === "earlier";
    if (this.#paused && how !== "earlier") {
      this.#heldBack += 1;
      this.#held.push({ frame, how });
      if (this.#held.length > MOST_KEPT) this.#held.shift();
    } else {
      this.#keep({ frame, how });
    }
    this.#draw();
  }

  /** Says that events were left out. */
  note(topic, count) {
    this.#notes = [`${plural(count, "event")} of ${topic} not listed: too many happened while this page was away.`];
    this.#draw();
  }

  clear() {
    this.#kept = [];
    this.#held = [];
    this.#heldBack = 0;
    this.#draw();
  }

  /** Nearly always at the end; what happened before, or was missed, where it belongs. */
  #keep(entry) {
    let at = this.#kept.length;
    while (at > 0 && this.#kept[at - 1].frame.ts > entry.frame.ts) at -= 1;
    this.#kept.splice(at, 0, entry);
    if (this.#kept.length > MOST_KEPT) this.#kept.shift();
  }

  #toggle() {
    this.#paused = !this.#paused;
    this.#pause.setAttribute("aria-pressed", String(this.#paused));
    if (!this.#paused) {
      for (const entry of this.#held) this.#keep(entry);
      this.#held = [];
      this.#heldBack = 0;
    }
    this.#draw();
  }

  #render() {
    const shown = this.#kept.filter(({ frame }) => this.#shown.has(frame.topic));
    const newest = shown.slice(-MOST_DRAWN).reverse();
    const drawn = new Map();
    let place = this.#list.firstElementChild;
    const key = ({ frame }) => `${frame.topic} ${frame.position}`;
    const few = newest.filter((entry) => entry.how === "live" && !this.#drawn.has(key(entry))).length <= MOST_FRESH;
    for (const entry of newest) {
      const item = this.#drawn.get(key(entry)) ?? this.#item(entry, few);
      drawn.set(key(entry), item);
      if (item === place) place = place.nextElementSibling;
      else this.#list.insertBefore(item, place);
    }
    for (const [key, item] of this.#drawn) if (!drawn.has(key)) item.remove();
    this.#drawn = drawn;
    say(this.#pause, this.#paused ? `Resume (${number(this.#heldBack)} held back)` : "Pause");
    say(by("events-said"), this.#said(shown.length));
  }

  #said(shown) {
    const notes = this.#notes.join(" ");
    if (this.#kept.length === 0 && !this.#paused) {
      return `Nothing has happened yet. Play the shop, or POST to its API: it appears here within milliseconds. ${notes}`.trim();
    }
    if (this.#kept.length === MOST_KEPT) this.#early = false;
    const kept = this.#kept.length === MOST_KEPT ? `the newest ${number(MOST_KEPT)}` : number(this.#kept.length);
    if (this.#shown.size === 0) return "No topic is chosen.";
    const all = this.#shown.size === TOPICS.length;
    const before = this.#early ? `, of earlier ones the last ${EARLIER} of each topic` : "";
    const listed = all ? `Listed: ${kept}${before}.` : `Listed: ${number(shown)} of ${kept}.`;
    return `${this.#paused ? "Paused. " : ""}${listed} ${notes}`.trim();
  }

  #item({ frame, how }, few) {
    const details = h("details", {},
      h("summary", {},
        h("span", { class: "action" }, spaced(frame.action)),
        h("time", {}, time(frame.ts)),
        h("span", { class: "about" }, about(frame, this.#shop))));
    details.addEventListener("toggle", () => {
      if (!details.open || details.querySelector("pre")) return;
      details.append(h("pre", {}, JSON.stringify(frame, null, 2)));
    });
    const item = h("li", { class: few && how === "live" ? "event fresh" : "event", "data-topic": frame.topic }, details);
    item.dataset.action = frame.action;
    return item;
  }
}
