// The state by entity: one sortable table at a time. A change redraws its row and nothing else.

import { MOST_FRESH, by, date, euros, h, number, onFrame, plural, say, short, shortId, time } from "./dom.js";
import { MOST_ROWS } from "./shop.js";
import { gist, label, level } from "./words.js";

/** Rows that are drawn. */
const MOST_DRAWN = 150;

const NAMES = {
  order: "Orders", customer: "Customers", product: "Products", inventory: "Inventories",
  cart: "Carts", billing: "Billings", shipping: "Shippings", mail: "Mails",
};
const EMPTY = {
  order: "No orders yet. Play the shop, or POST an order.",
  mail: "No mails yet: crm-service writes one when a customer or an order gives it a reason.",
};

/** The columns of each table: heading, what it sorts by, and what a cell shows if that is something else. */
function columns(shop, show) {
  const product = (id) => shop.get("product", id)?.name ?? short(id);
  const customerOf = (cart) => shop.get("customer", cart?.customer_id)?.name ?? "";
  const cartOf = (order) => shop.get("cart", order.cart_id);
  const sum = (cart) => cart?.product_ids?.reduce((all, id) => all + (shop.get("product", id)?.price ?? NaN), 0);
  const id = { head: "Id", by: (row) => row.entity_id, cell: (row) => shortId(row.entity_id), kind: "nowrap" };
  const order = {
    head: "Order", by: (row) => row.order_id, kind: "nowrap",
    cell: (row) => show(row.order_id),
  };
  const badge = (status) => h("span", { class: "badge", "data-level": level(status) }, label(status));
  return {
    order: [
      { head: "Order", by: (row) => row.entity_id, cell: (row) => show(row.entity_id), kind: "nowrap" },
      { head: "Status", by: (row) => label(row.status), cell: (row) => badge(row.status), kind: "nowrap" },
      { head: "Customer", by: (row) => customerOf(cartOf(row)), kind: "text" },
      { head: "Products", by: (row) => cartOf(row)?.product_ids?.length, kind: "number" },
      { head: "Price", by: (row) => sum(cartOf(row)), cell: (row) => euros(sum(cartOf(row))), kind: "number" },
    ],
    customer: [
      { head: "Name", by: (row) => row.name, kind: "text" },
      { head: "Email", by: (row) => row.email, kind: "text" },
      id,
    ],
    product: [
      { head: "Name", by: (row) => row.name, kind: "text" },
      { head: "Price", by: (row) => row.price, cell: (row) => euros(row.price), kind: "number" },
      id,
    ],
    inventory: [
      { head: "Product", by: (row) => product(row.product_id), kind: "text" },
      { head: "Pieces", by: (row) => row.amount, kind: "number" },
      id,
    ],
    cart: [
      { head: "Customer", by: customerOf, kind: "text" },
      { head: "Products", by: (row) => row.product_ids?.map(product).join(", "), kind: "text" },
      { head: "Price", by: sum, cell: (row) => euros(sum(row)), kind: "number" },
      id,
    ],
    billing: [order, { head: "Amount", by: (row) => row.amount, cell: (row) => euros(row.amount), kind: "number" }, id],
    shipping: [
      order,
      {
        head: "Delivered", by: (row) => row.delivered, kind: "text",
        cell: (row) => (Number.isFinite(row.delivered) ? date(row.delivered) : String(row.delivered ?? "not yet")),
      },
      id,
    ],
    mail: [
      { head: "Sent", by: (row) => row.sent, cell: (row) => time(row.sent), kind: "nowrap" },
      { head: "To", by: (row) => row.to, kind: "text" },
      { head: "Message", by: (row) => gist(row.msg), kind: "text" },
    ],
  };
}

export class Tables {
  #shop;
  #columns;
  #current = "order";
  #sort = new Map();
  #changed = new Set();
  #all = true;
  #rows = new Map();
  #trouble = new Map();
  #tabs = new Map();
  #draw = onFrame(() => this.#render());

  /** `choose` is called with an order that is to be looked at. */
  constructor(shop, choose) {
    this.#shop = shop;
    const show = (id) =>
      h("button", { type: "button", class: "link id", title: `Show the life of order ${id}`, onclick: () => choose(id) }, short(id));
    this.#columns = columns(shop, show);
    for (const topic of Object.keys(NAMES)) this.#tab(topic);
    by("tabs").addEventListener("keydown", (event) => this.#rove(event));
    this.#select("order");
    shop.addEventListener("change", ({ detail }) => this.#change(detail));
    shop.addEventListener("trouble", ({ detail }) => {
      this.#trouble.set(detail.topic, detail.error);
      this.#draw();
    });
  }

  #tab(topic) {
    const count = h("span", { class: "count" }, "0");
    const tab = h("button", {
      type: "button", role: "tab", id: `tab-${topic}`, "aria-controls": "panel", onclick: () => this.#select(topic),
    }, NAMES[topic], count);
    this.#tabs.set(topic, { tab, count });
    by("tabs").append(tab);
  }

  #rove(event) {
    const topics = Array.from(this.#tabs.keys());
    const at = topics.indexOf(this.#current);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: topics.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const topic = topics[(to + topics.length) % topics.length];
    this.#select(topic);
    this.#tabs.get(topic).tab.focus();
  }

  #select(topic) {
    this.#current = topic;
    for (const [name, { tab }] of this.#tabs) {
      tab.setAttribute("aria-selected", String(name === topic));
      tab.tabIndex = name === topic ? 0 : -1;
    }
    // Within the strip of tabs only: the page stays where it is.
    const { tab: shown } = this.#tabs.get(topic);
    by("tabs").scrollLeft = shown.offsetLeft - by("tabs").offsetLeft - (by("tabs").clientWidth - shown.offsetWidth) / 2;
    by("panel").setAttribute("aria-labelledby", `tab-${topic}`);
    by("table").parentElement.setAttribute("aria-label", `${NAMES[topic]}, as a table`);
    by("table").caption.textContent = NAMES[topic];
    this.#head();
    this.#all = true;
    this.#draw();
  }

  #head() {
    const sort = this.#sort.get(this.#current);
    const cells = this.#columns[this.#current].map((column, at) => {
      const cell = h("th", { scope: "col", class: column.kind === "number" ? "number" : null },
        h("button", { type: "button", class: "sort", onclick: () => this.#sortBy(at) }, column.head));
      if (sort?.at === at) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      return cell;
    });
    by("table").tHead.replaceChildren(h("tr", {}, cells));
  }

  #sortBy(at) {
    const sort = this.#sort.get(this.#current);
    const next = sort?.at === at ? { at, down: !sort.down } : { at, down: false };
    this.#sort.set(this.#current, next);
    this.#head();
    by("table").tHead.rows[0].cells[at].querySelector("button").focus();
    this.#all = true;
    this.#draw();
  }

  #change({ topic, id }) {
    if (topic === this.#current && id !== undefined) this.#changed.add(id);
    else if (topic === this.#current) this.#all = true;
    // Names and prices in other tables come from these.
    if (["customer", "product", "cart"].includes(topic) && topic !== this.#current) this.#all = true;
    if (this.#changed.size > MOST_ROWS) this.#all = true;
    if (this.#all) this.#changed.clear();
    this.#draw();
  }

  /** The newest first, unless a column was chosen. */
  #sorted(table) {
    const rows = Array.from(table.rows);
    const sort = this.#sort.get(this.#current);
    if (!sort) return rows.sort(([, a], [, b]) => b.order - a.order);
    const { by: value } = this.#columns[this.#current][sort.at];
    const sign = sort.down ? -1 : 1;
    return rows
      .map(([id, row]) => [id, row, value(row.entity)])
      .sort(([, a, x], [, b, y]) => sign * compare(x, y) || b.order - a.order);
  }

  #render() {
    for (const [topic, { count }] of this.#tabs) say(count, number(this.#shop.table(topic).total));
    const table = this.#shop.table(this.#current);
    const sorted = this.#sorted(table).slice(0, MOST_DRAWN);
    const body = by("table").tBodies[0];
    const drawn = new Map();
    let place = body.firstElementChild;
    const few = !this.#all && this.#changed.size <= MOST_FRESH;
    for (const [id, row] of sorted) {
      let line = this.#all ? null : this.#rows.get(id);
      if (!line || this.#changed.has(id)) {
        const fresh = this.#line(row.entity, few);
        if (line === place) place = line?.nextElementSibling ?? null;
        line?.remove();
        line = fresh;
      }
      drawn.set(id, line);
      if (line === place) place = place.nextElementSibling;
      else body.insertBefore(line, place);
    }
    while (place) {
      const next = place.nextElementSibling;
      place.remove();
      place = next;
    }
    this.#rows = drawn;
    this.#changed.clear();
    this.#all = false;
    this.#say(table, sorted.length);
  }

  #line(entity, fresh) {
    const cells = this.#columns[this.#current].map((column) => {
      const content = column.cell ? column.cell(entity) : column.by(entity);
      const shown = content instanceof Node ? content : String(content ?? "");
      return h("td", { class: column.kind }, shown);
    });
    return h("tr", { class: fresh ? "fresh" : null, "data-id": entity.entity_id }, cells);
  }

  #say(table, drawn) {
    const trouble = this.#trouble.get(this.#current);
    const name = NAMES[this.#current].toLowerCase();
    let text = table.total === drawn ? plural(table.total, name.replace(/ies$/, "y").replace(/s$/, ""), name)
      : `${number(drawn)} of ${number(table.total)} ${name} are shown: the newest, or the first as sorted of the newest ${number(MOST_ROWS)}.`;
    if (!table.loaded) text = "Loading…";
    else if (table.total === 0) text = EMPTY[this.#current] ?? `No ${name} yet. Play the shop, or POST one.`;
    if (trouble) text = `Cannot be loaded for now, is tried again: ${trouble}`;
    say(by("table-said"), text);
  }
}

function compare(a, b) {
  const [none, other] = [a ?? "", b ?? ""];
  if (typeof none === "number" && typeof other === "number") return none - other;
  return String(none).localeCompare(String(other), "en", { numeric: true });
}
