// The state of the shop: an entity per row, loaded once as of a position and kept by the events after it.

import { get } from "./rest.js";
import { TOPICS } from "./feed.js";

/** Rows of each table that are kept: the newest. */
export const MOST_ROWS = 1_000;
const AGAIN = 2_000;

class Table {
  rows = new Map();
  total = 0;
  loaded = false;
  /** What events said while the state was loading, deletions included: it is newer than what comes. */
  touched = null;
  loading = 0;
  /** The last event that was applied. */
  position = null;

  put(id, row, isNew) {
    const known = this.rows.get(id);
    // One that is not known and not new is among the older ones, which were counted.
    if (!known && (isNew || this.total === this.rows.size)) this.total += 1;
    this.rows.set(id, { ...row, order: known?.order ?? Table.#count++ });
    if (this.rows.size > MOST_ROWS) this.rows.delete(this.rows.keys().next().value);
  }

  remove(id) {
    const older = this.total > this.rows.size;
    if (this.rows.delete(id) || older) this.total -= 1;
  }

  static #count = 0;
}

/** Tells of `change` (topic, id; no id: all of it) and `trouble` (topic, error). */
export class Shop extends EventTarget {
  #tables = new Map(TOPICS.map((topic) => [topic, new Table()]));
  #waiters = new Set();

  table(topic) {
    return this.#tables.get(topic);
  }

  get(topic, id) {
    return this.#tables.get(topic).rows.get(id)?.entity;
  }

  /** The entities of a topic that are kept, oldest first. */
  all(topic) {
    return Array.from(this.#tables.get(topic).rows.values(), (row) => row.entity);
  }

  apply(frame) {
    const table = this.#tables.get(frame.topic);
    if (!table || !frame.subject) return;
    const [, what] = /_(created|updated|deleted|sent)$/.exec(frame.action) ?? [];
    if (!what) return;
    const told = entity(frame);
    const id = rowId(frame.topic, told);
    if (what === "deleted") table.remove(id);
    else table.put(id, { entity: told, ts: frame.ts }, what !== "updated");
    table.touched?.add(id);
    table.position = frame.position;
    this.#changed(frame.topic, id);
  }

  /** Loads a table with what the events up to `position` say. */
  async load(topic, position) {
    const table = this.#tables.get(topic);
    const turn = ++table.loading;
    table.touched = new Set();
    if (position === null) {
      table.loaded = true;
      this.#changed(topic);
      return;
    }
    try {
      const found = await pages(topic, position);
      if (turn !== table.loading) return;
      this.#replace(table, found);
      table.loaded = true;
      this.dispatchEvent(new CustomEvent("trouble", { detail: { topic, error: null } }));
      this.#changed(topic);
    } catch (error) {
      if (turn !== table.loading) return;
      this.dispatchEvent(new CustomEvent("trouble", { detail: { topic, error: error.message } }));
      // By then with what came meanwhile, which the state that was asked for would not have.
      setTimeout(() => turn === table.loading && this.load(topic, table.position ?? position), AGAIN);
    }
  }

  #replace(table, { rows, total }) {
    const { rows: known, touched } = table;
    const newer = Array.from(touched, (id) => [id, known.get(id)]);
    table.rows = new Map();
    table.total = total;
    for (const [id, loaded] of rows) {
      const same = known.get(id);
      table.rows.set(id, { entity: loaded, ts: same?.ts ?? loaded.sent, order: same?.order ?? NaN });
    }
    // The order of loading is that of creation.
    let order = -table.rows.size;
    for (const row of table.rows.values()) row.order = order++;
    for (const [id, row] of newer) {
      const there = table.rows.has(id);
      if (row) {
        table.rows.set(id, there ? { ...row, order: table.rows.get(id).order } : row);
        if (!there) table.total += 1;
      } else if (there) {
        table.rows.delete(id);
        table.total -= 1;
      }
    }
    table.touched = null;
  }

  /** Everything is forgotten. */
  clear() {
    for (const topic of TOPICS) {
      const table = new Table();
      table.loading = this.#tables.get(topic).loading + 1;
      this.#tables.set(topic, table);
      this.#changed(topic);
    }
  }

  #changed(topic, id) {
    this.dispatchEvent(new CustomEvent("change", { detail: { topic, id } }));
    for (const look of this.#waiters) look();
  }

  /** Waits until `look` finds something, and answers that; says `what` it waited for if it did not come. */
  until(what, look, patience = 30_000) {
    return new Promise((resolve, reject) => {
      const done = (settle, value) => {
        clearTimeout(late);
        this.#waiters.delete(check);
        settle(value);
      };
      const check = () => {
        const found = look();
        if (found) done(resolve, found);
      };
      const late = setTimeout(() => done(reject, new Error(`waited ${patience / 1000} s for ${what()}`)), patience);
      this.#waiters.add(check);
      check();
    });
  }
}

function entity(frame) {
  return frame.topic === "mail" ? { ...frame.data, sent: frame.ts } : frame.data;
}

/** Mails have no id of their own, but no two are the same at the same moment. */
const rowId = (topic, item) => (topic === "mail" ? `${item.sent} ${item.to} ${item.msg}` : item.entity_id);

/** All pages of a table; of many rows, the newest. */
async function pages(topic, position) {
  const rows = new Map();
  let [total, after] = [0, null];
  do {
    const query = new URLSearchParams({ at: position, ...(after && { after }) });
    const page = await get(`/page/state/${topic}?${query}`);
    for (const item of page.items) {
      total += 1;
      rows.set(rowId(topic, item), item);
      if (rows.size > MOST_ROWS) rows.delete(rows.keys().next().value);
    }
    after = page.next;
  } while (after);
  return { rows, total };
}
