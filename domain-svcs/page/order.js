// An order's life: its diagram, and what happened to it in time.

import { by, euros, h, lapse, onFrame, plural, say, short, time } from "./dom.js";
import { diagram } from "./diagram.js";
import { get } from "./rest.js";
import { about, label, level, spaced } from "./words.js";

/** Orders that can be picked; others from the table. */
const PICKABLE = 50;

export class OrderLife {
  #shop;
  #chosen = null;
  #followed = null;
  #story = [];
  #turn = 0;
  #drawn = "";
  #select = by("life-order");
  #draw = onFrame(() => this.#render());

  constructor(shop) {
    this.#shop = shop;
    this.#select.addEventListener("change", () => this.choose(this.#select.value || null));
    shop.addEventListener("change", ({ detail }) => {
      if (["order", "cart", "customer", "product"].includes(detail.topic)) this.#follow();
    });
    this.#draw();
  }

  /** Looks at an order; at the newest, if none is given. */
  choose(id) {
    this.#chosen = id;
    this.#follow();
  }

  /** Looks at an order, and shows it. */
  show(id) {
    this.choose(id);
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    by("life-title").scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
  }

  /** Everything is forgotten. */
  clear() {
    this.#chosen = null;
    this.#followed = null;
    this.#story = [];
    this.#follow();
  }

  /** Events of the order that is looked at, as they come. */
  add(frame) {
    if (this.#followed && frame.ts && belongs(frame, this.#followed)) this.#insert([frame]);
  }

  #newest() {
    let newest = null;
    for (const [id, row] of this.#shop.table("order").rows) if (!newest || row.order > newest.order) newest = { id, order: row.order };
    return newest?.id ?? null;
  }

  #follow() {
    const id = this.#chosen ?? this.#newest();
    if (id !== this.#followed) {
      this.#followed = id;
      this.#story = [];
      if (id) this.#load(id);
    }
    this.#draw();
  }

  async #load(id) {
    const turn = ++this.#turn;
    const frames = await get(`/page/story/${encodeURIComponent(id)}`).catch(() => []);
    if (turn === this.#turn) this.#insert(frames);
  }

  #insert(frames) {
    const known = new Set(this.#story.map(place));
    this.#story.push(...frames.filter((frame) => !known.has(place(frame))));
    this.#story.sort((a, b) => a.ts - b.ts || TOPIC_RANK.indexOf(a.topic) - TOPIC_RANK.indexOf(b.topic));
    this.#draw();
  }

  #render() {
    this.#options();
    const order = this.#shop.get("order", this.#followed);
    const reached = new Map();
    for (const { topic, data, ts } of this.#story) {
      if (topic === "order" && data?.status && !reached.has(data.status)) reached.set(data.status, ts);
    }
    const last = this.#story.findLast(({ topic }) => topic === "order");
    const deleted = last?.action === "order_deleted";
    const now = deleted ? null : (last?.data.status ?? order?.status ?? null);
    if (now && !reached.has(now)) reached.set(now, undefined);
    this.#diagram(reached, now);
    this.#say(order ?? last?.data, now, deleted);
    this.#tell();
  }

  #diagram(reached, now) {
    // Drawn anew only when it differs, so that the arrival is seen once.
    const drawn = JSON.stringify([Array.from(reached), now]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    by("diagram").replaceChildren(diagram(reached, now));
  }

  #say(order, now, deleted) {
    const id = this.#followed;
    if (!id || !order) {
      say(by("life-who"), "There is no order yet. Play the shop, and the newest is drawn here as it moves.");
      return;
    }
    const cart = this.#shop.get("cart", order.cart_id);
    const customer = this.#shop.get("customer", cart?.customer_id)?.name;
    const products = cart?.product_ids ?? [];
    const price = products.reduce((sum, product) => sum + (this.#shop.get("product", product)?.price ?? NaN), 0);
    const parts = [
      `Order ${short(id)}${customer ? ` of ${customer}` : ""}`,
      products.length ? plural(products.length, "product") : null,
      euros(price) || null,
      deleted ? "deleted" : label(now),
    ];
    say(by("life-who"), parts.filter(Boolean).join(" · "));
  }

  #tell() {
    const list = by("story");
    const ids = this.#story.map((frame) => `${this.#followed} ${place(frame)}`).join();
    if (list.dataset.ids === ids) return;
    list.dataset.ids = ids;
    list.replaceChildren(...this.#story.map((frame, at) => {
      const since = at > 0 ? `+${lapse(frame.ts - this.#story[at - 1].ts)}` : "";
      return h("li", {},
        h("time", {}, time(frame.ts)),
        h("span", { class: "since" }, since),
        h("div", {},
          h("strong", {}, spaced(frame.action)), " ",
          h("span", { class: "about" }, frame.topic === "order" ? this.#badge(frame) : about(frame, this.#shop))));
    }));
    by("story-title").hidden = this.#story.length === 0;
  }

  #badge({ action, data }) {
    return action === "order_deleted" ? "" : h("span", { class: "badge", "data-level": level(data?.status) }, label(data?.status));
  }

  #options() {
    const rows = Array.from(this.#shop.table("order").rows).sort(([, a], [, b]) => b.order - a.order).slice(0, PICKABLE);
    const ids = rows.map(([id]) => id);
    if (this.#chosen && !ids.includes(this.#chosen)) ids.push(this.#chosen);
    const key = ids.map((id) => `${id} ${this.#named(id)}`).join();
    if (this.#select.dataset.key !== key && document.activeElement !== this.#select) {
      this.#select.dataset.key = key;
      this.#select.replaceChildren(
        h("option", { value: "" }, "the newest"),
        ...ids.map((id) => h("option", { value: id }, this.#named(id))));
    }
    this.#select.value = this.#chosen ?? "";
  }

  #named(id) {
    const cart = this.#shop.get("cart", this.#shop.get("order", id)?.cart_id);
    const customer = this.#shop.get("customer", cart?.customer_id)?.name;
    return customer ? `${short(id)}, ${customer}` : short(id);
  }
}

/** What causes comes before what is caused, should the clock not tell them apart. */
const TOPIC_RANK = ["inventory", "billing", "shipping", "order"];
const place = (frame) => `${frame.topic} ${frame.position}`;

function belongs(frame, order) {
  return frame.topic === "order" ? frame.subject === order : frame.data?.order_id === order;
}
